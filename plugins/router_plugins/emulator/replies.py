"""What receiving mail servers say: real-looking SMTP replies in several languages, by kind of result."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["success", "unknown_user", "no_domain", "mailbox_full", "greylisted", "rate_limited", "spam"]

Mix = dict[Kind, float]

PUBLISHED_MIX: Mix = {
    "success": 0.8707,
    "unknown_user": 0.0450,
    "no_domain": 0.0103,
    "mailbox_full": 0.0193,
    "greylisted": 0.0154,
    "rate_limited": 0.0200,
    "spam": 0.0193,
}
"""Of 298 million mails of a large sender 12.93 % failed at first (doi 10.1145/3646547.3688425); of what, is a guess."""

PUBLISHED_RECOVERY = 1 / 3
"""The share of those that came through in the end (the same source)."""

PASSING: frozenset[Kind] = frozenset({"mailbox_full", "greylisted", "rate_limited"})
"""What passes: mails that failed so may come through when they are sent again."""


class Reply(msgspec.Struct, frozen=True):
    """The last word of the other side. `{rcpt}`, `{domain}` and `{ip}` in `text` are filled in."""

    code: str
    text: str
    failed_type: str


STATUS: dict[Kind, str] = {
    "success": "0",
    "unknown_user": "2",
    "no_domain": "2",
    "mailbox_full": "4",
    "greylisted": "4",
    "rate_limited": "4",
    "spam": "3",
}
"""0 delivered, 2 invalid address, 3 judged spam by the receiver, 4 failed (PROTOCOL 3.1)."""

REPLIES: dict[Kind, tuple[Reply, ...]] = {
    "success": (
        Reply("250", "250 Send Mail OK", "SendOk"),
        Reply("250", "250 2.0.0 OK  1492141487 q3si1170245pgf.121 - gsmtp", "SendOk"),
        Reply("250", "250 Mail OK queued as mx28,U8CowABHX+fU5_BY_gTFAg--.55S2 1492141488", "SendOk"),
        Reply("250", "250 OK: queued as.", "SendOk"),
        Reply("250", "250 2.6.0 <{rcpt}> [InternalId=4715, Hostname=DB5.example] Queued mail for delivery", "SendOk"),
        Reply("250", "250 ok dirdel", "SendOk"),
    ),
    "unknown_user": (
        Reply("550", "550 No Such User", "SmtpNxBox"),
        Reply("550", "550 User not found: {rcpt}", "SmtpNxBox"),
        Reply("550", "550 Mailbox not found. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000728",
              "SmtpNxBox"),
        Reply("550", "550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 "
              "double-checking the recipient's email address for typos. 550 5.1.1 "
              "https://support.example/mail/?p=NoSuchUser&hl=en q3si1170245pgf.121 - gsmtp", "SmtpNxBox"),
        Reply("550", "550 5.1.1 <{rcpt}>: 收件人地址不存在", "SmtpNxBox"),
        Reply("550", "550 5.1.1 <{rcpt}>: そのようなユーザーは存在しません", "SmtpNxBox"),
        Reply("550", "550 5.1.1 Empfänger unbekannt: Die Adresse „{rcpt}“ existiert nicht", "SmtpNxBox"),
        Reply("550", "550 5.1.1 Adresse d'au moins un destinataire invalide (boîte=inexistante) LPN007_405",
              "SmtpNxBox"),
        Reply("551", "551 5.1.1 El buzón <{rcpt}> no existe & no se reenvía", "SmtpNxBox"),
        Reply("550", "550 5.1.1 пользователь не найден: {rcpt}", "SmtpNxBox"),
        Reply("550", "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [id=8.1&loc=eu]",
              "SysOutInvRcpt"),
    ),
    "no_domain": (
        Reply("558", "558 domain {domain} not exist, DnsQuery=NXDOMAIN", "SysOutDnsResolveFail"),
        Reply("556", "556 no MX for {domain}: 域名解析失败", "SysOutDnsResolveFail"),
        Reply("550", "550 5.1.2 Bad destination system address: {domain} (type=MX&rcode=3)", "SysOutDnsResolveFail"),
    ),
    "mailbox_full": (
        Reply("552", "552 5.2.2 Mailbox full, quota=100%", "UnkSmtpError"),
        Reply("452", "452-4.2.2 The email account that you tried to reach is over quota. 452 4.2.2 "
              "https://support.example/mail/?p=OverQuotaTemp&x=1 - gsmtp", "UnkSmtpError"),
        Reply("552", "552 Quota exceeded 收件人邮箱已满", "UnkSmtpError"),
        Reply("552", "552 5.2.2 メールボックスの容量が制限を超えています", "UnkSmtpError"),
        Reply("552", "552 5.2.2 La boîte du destinataire est pleine (taille=250Mo&max=250Mo)", "UnkSmtpError"),
        Reply("552", "552 5.2.2 Das Postfach ist voll", "UnkSmtpError"),
    ),
    "greylisted": (
        Reply("451", "451 4.7.1 Greylisting in action, please come back later", "UnkSmtpError"),
        Reply("450", "450 4.2.0 <{rcpt}>: Recipient address rejected: Greylisted, see http://isg.example/?id=1&a=2",
              "UnkSmtpError"),
        Reply("451", "451 4.7.1 Graulistung aktiv, bitte in 300 Sekunden erneut versuchen", "UnkSmtpError"),
        Reply("451", "451 请稍后再试 (greylist=1)", "UnkSmtpError"),
    ),
    "rate_limited": (
        Reply("550", "550 Connection frequency limited. http://service.mail.qq.com/cgi-bin/help?"
              "subtype=1&&id=20022&&no=1000722", "SmtpMfFreq"),
        Reply("421", "421 4.7.0 [{ip}] Our system has detected an unusual rate of unsolicited mail. - gsmtp",
              "MfdFreq"),
        Reply("450", "450 MI:SFQ 同一IP发送过于频繁 http://mail.example/help?ip={ip}&id=1", "IPFreq"),
        Reply("452", "452 4.3.1 Too many recipients received this hour (limit=500)", "RcptFreq"),
        Reply("421", "421 mwinf5c04 ME Trop de connexions, veuillez vérifier votre configuration. LPN001_403",
              "SmtpMfFreq"),
    ),
    "spam": (
        Reply("550", "550 Mail content denied. http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000726",
              "SmtpContSpam"),
        Reply("554", "554 DT:SPM 163 mx12,PsCowEAJtWQ+fUFYKgAA--.3S2, please see "
              "http://mail.163.com/help/help_spam_16.htm?ip={ip}&hostid=mx12&time=1492141488", "SmtpContSpam"),
        Reply("554", "554 5.7.1 邮件内容被判定为垃圾邮件", "SmtpMiscSpam"),
        Reply("550", "550 5.7.1 迷惑メールと判定されました", "SmtpMiscSpam"),
        Reply("554", "554 5.7.1 Nachricht als Spam abgelehnt (Score=17.3; Grund=BAYES_99&URIBL)", "SmtpMiscSpam"),
        Reply("550", "550 5.7.1 Message refusée : contenu indésirable (code=ofr_506)", "SmtpContSpam"),
        Reply("550", "550 5.7.350 Remote server returned message detected as spam -> 550 status=0&event=open",
              "SmtpContSpam"),
    ),
}  # fmt: skip
