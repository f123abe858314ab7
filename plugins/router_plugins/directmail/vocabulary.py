"""What a config can say of DirectMail's fields: the texts that they can have, and what else people call them.

Only what the vendor documents as closed is closed here (PROTOCOL 3): a comparison with any other text never holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from router import NUMBER, Values

_ADDRESS = Values(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", "an IP address", "0-9A-Fa-f:.")
_TIME = Values(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*|[0-9]{9,16}",
    "a date and a time, such as 2026-03-01 09:00:01",
)
_EVENTS = (
    "deliver", "open", "click", "subscribe", "unsubscribe", "Deliver:Open", "Deliver:Click",
    "dm:Deliver:Succeed", "dm:Deliver:Fail", "dm:Feedback:FblReport", "dm:Feedback:Subscribe",
    "dm:Feedback:UnSubscribe", "dm:Trace:Click", "dm:Trace:Open", "dm:Validator:GrayListResult",
)  # fmt: skip
_STATUSES = {
    "delivered": "0", "success": "0", "succeeded": "0", "ok": "0", "sent": "0", "invalid": "2", "spam": "3",
    "failed": "4", "fail": "4", "failure": "4", "bounced": "4", "bounce": "4",
}  # fmt: skip

VALUES: Mapping[str, Values] = {
    "type": Values(r"Other:.+", "a type of event", "", ("Other:",)),
    "event": Values("|".join(_EVENTS), "what the vendor calls the event", "", _EVENTS),
    "status": Values(
        NUMBER.pattern, "a number: 0 delivered, 2 invalid address, 3 spam, 4 failed", "0-9-", (), _STATUSES
    ),
    "account": Values(r"[^@].*", "an address", "^\\s"),
    "err_code": NUMBER,
    "region": Values(r"[a-z][a-z0-9-]*", "in lower case, such as cn-hangzhou", "a-z0-9-"),
    "rcpt_domain": Values(r"[^@A-Z\s]+", "a domain in lower case, such as example.com", "^@A-Z\\s"),
    "is_dedicated_ip": Values("true|false", "true or false", "a-z", ("true", "false")),
    "outbound_ip": _ADDRESS,
    "client_ip": _ADDRESS,
    "recv_time": _TIME,
    "end_time": _TIME,
    "operate_time": _TIME,
    "block_time": _TIME,
}

SYNONYMS: Mapping[str, str] = {
    "recipient": "rcpt", "recipients": "rcpt", "to": "rcpt", "to_address": "rcpt", "email": "rcpt", "mail": "rcpt",
    "address": "rcpt", "user": "rcpt", "domain": "rcpt_domain", "recipient_domain": "rcpt_domain",
    "sender": "account", "account_name": "account", "from_address": "from", "from_": "from",
    "envid": "env_id", "envelope_id": "env_id", "message_id": "msg_id", "message-id": "msg_id", "msgid": "msg_id",
    "send_time": "recv_time", "deliver_time": "end_time", "code": "err_code", "error_code": "err_code",
    "smtp_code": "err_code", "message": "err_msg", "error": "err_msg", "error_message": "err_msg", "reply": "err_msg",
    "event_type": "type", "kind": "type", "state": "status", "ip": "outbound_ip", "tag_name": "tag",
    "notify_message_id": "X-Notify-Message-ID", "timestamp": "time", "date": "time",
}  # fmt: skip
