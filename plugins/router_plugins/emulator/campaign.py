"""Campaigns: what became of a mailing, as a plan that always yields the same results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from heapq import heappop, heappush
from math import isfinite
from random import Random
from typing import Annotated, Any, Literal

import msgspec

from router_plugins.emulator.replies import (
    PASSING,
    PUBLISHED_MIX,
    PUBLISHED_RECOVERY,
    REPLIES,
    STATUS,
    Kind,
    Reply,
)

Form = Literal["text", "later", "cloudevents", "mixed"]
"""How results are written; `mixed` takes turns (see `router_plugins.emulator.forms`)."""

FEEDBACK = ("Feedback:FblReport", "Feedback:Subscribe", "Feedback:UnSubscribe", "Trace:Click", "Trace:Open")
"""What recipients do afterwards; documented in the CloudEvents form only (PROTOCOL 3.2)."""

BEIJING = timezone(timedelta(hours=8))
"""The text form names no zone; Beijing time is implied for cn-hangzhou (PROTOCOL 3.1)."""

DOMAINS: dict[str, float] = {
    "qq.com": 30, "163.com": 16, "gmail.com": 14, "126.com": 6, "outlook.com": 6, "hotmail.com": 4, "sina.com": 3,
    "yahoo.co.jp": 3, "yahoo.com": 3, "icloud.com": 3, "foxmail.com": 3, "gmx.de": 2, "web.de": 2, "orange.fr": 2,
    "aliyun.com": 2, "docomo.ne.jp": 1, "mail.ru": 1, "shop.example.com": 1, "xn--fiqs8s.example": 1,
}  # fmt: skip
_NAMES = ("li.wei", "wang.fang", "zhang", "anna", "jean-luc", "yuki", "müller", "o'brien", "liu_yang", "maria")
_ODD = ("{n}+news", "{n}=bounce", "{n}&co", "{n}%40home", "{n}+a=b&c", "{n}%2B1")
"""Local parts that a careless parser of `key=value&...` text breaks on."""


_FARTHEST = 3000
"""What failed is sent again within so many results, and within a tenth of the campaign."""

_ADDRESS = re.compile(r"[^\s@&=]+@[^\s@&=]+")
_DOMAIN = re.compile(r"[^\s@&=]+")
_REGION = re.compile(r"[A-Za-z0-9-]+")

Weight = Annotated[float, msgspec.Meta(ge=0)]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign sends; two equal plans yield equal results.

    `results`: how many. `accounts`, `regions`: senders and regions, taken evenly. `mix`: weights of what becomes of a
    mail that is sent for the first time, by kind; `domains`: weights of the recipients' domains. `recovered`: share of
    the mails that failed which come through when the sender sends them once more, as a mail with an env_id of its own:
    those whose cause passes. Without a mix both are as published, with one nothing is sent again.
    `feedback`: share of opens, clicks and the like (in the CloudEvents form only). `odd`: share of recipients
    with `+`, `=`, `&` or `%` in the address. `start`: when the first mail was accepted (in Beijing,
    where it names no zone), now by default.
    """

    results: Annotated[int, msgspec.Meta(ge=0, le=20_000_000)]
    seed: int = 1
    form: Form = "text"
    accounts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = (
        "news@shop.example.com",
        "order@shop.example.com",
        "info@mail.agency.example",
    )
    regions: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("cn-hangzhou",)
    mix: dict[Kind, Weight] = msgspec.field(default_factory=PUBLISHED_MIX.copy)
    domains: dict[str, Weight] = msgspec.field(default_factory=DOMAINS.copy)
    recovered: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    feedback: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    odd: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    tags: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("spring", "orders", "")
    start: datetime = msgspec.field(default_factory=lambda: datetime.now(BEIJING).replace(microsecond=0))

    def __post_init__(self) -> None:
        """Refuse weights that say nothing, and names that are none."""
        _check_weights("mix", self.mix)
        _check_weights("domains", self.domains)
        for what, names, form in (
            ("sender's address", self.accounts, _ADDRESS),
            ("region", self.regions, _REGION),
            ("domain", self.domains, _DOMAIN),
        ):
            for name in names:
                if not form.fullmatch(name):
                    raise ValueError(f"{name!r} is no {what}")

    @property
    def recovery(self) -> float:
        """The chance of a mail whose cause passes to be sent again with success."""
        share = self.recovered
        if share is None:
            share = PUBLISHED_RECOVERY if self.mix == PUBLISHED_MIX else 0.0
        failed = sum(self.mix.values()) - self.mix.get("success", 0)
        passing = sum(weight for kind, weight in self.mix.items() if kind in PASSING)
        return min(1.0, share * failed / passing) if passing else 0.0


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of one message to one recipient. `form` is never `mixed`; times are Beijing text."""

    index: int
    form: Form
    type: str
    env_id: str
    msg_id: str
    account: str
    rcpt: str
    recv_time: str
    end_time: str
    status: str
    region: str
    err_code: str
    err_msg: str
    failed_type: str
    tag: str
    outbound_ip: str


class _Mail(msgspec.Struct, frozen=True):
    """What the results of one sending have in common: all recipients of one env_id."""

    env_id: str
    msg_id: str
    account: str
    region: str
    tag: str
    accepted: datetime


def _check_weights(name: str, weights: Mapping[Any, float]) -> None:
    total = sum(weights.values())
    if min(weights.values(), default=0) < 0 or not total > 0 or not isfinite(total):
        raise ValueError(f"{name} needs weights of 0 or more, and one above 0")


def campaign(plan: Plan) -> Iterator[Result]:
    """Yield the plan's results; (env_id, rcpt) is unique, and about a tenth of them share an env_id."""
    random = Random(plan.seed)  # noqa: S311 - repeatable on purpose
    kind_of = random.choices(list(plan.mix), list(plan.mix.values()), k=plan.results)
    domain_of = random.choices(list(plan.domains), list(plan.domains.values()), k=plan.results)
    recovery, farthest = plan.recovery, max(2, min(_FARTHEST, plan.results // 10))
    again: list[tuple[int, int, Result]] = []
    mail: _Mail | None = None
    for index in range(plan.results):
        if again and again[0][0] <= index:
            yield _sent_again(plan, index, heappop(again)[2], random)
            continue
        if mail is None or random.random() >= 0.1:  # noqa: PLR2004 - the tenth that the docstring names
            mail = _mail(plan, index, random)
        kind = kind_of[index]
        result = _result(plan, index, mail, random, kind=kind, domain=domain_of[index])
        if recovery and kind in PASSING and result.status != STATUS["success"] and random.random() < recovery:
            heappush(again, (index + random.randrange(1, farthest), index, result))
        yield result


def _sent_again(plan: Plan, index: int, failed: Result, random: Random) -> Result:
    """Return the success of a mail that failed, with the env_id and the times of its second sending."""
    mail = _mail(plan, index, random)
    reply = random.choice(REPLIES["success"])
    return msgspec.structs.replace(
        failed, index=index, type="Deliver:SendSuccessfully", env_id=mail.env_id, msg_id=mail.msg_id,
        recv_time=_text(mail.accepted), end_time=_text(mail.accepted + timedelta(seconds=random.randrange(0, 5))),
        status=STATUS["success"], err_code=reply.code, failed_type=reply.failed_type,
        err_msg=_filled(reply, failed.rcpt, failed.rcpt.rpartition("@")[2], failed.outbound_ip),
    )  # fmt: skip


def _mail(plan: Plan, index: int, random: Random) -> _Mail:
    start = plan.start if plan.start.tzinfo else plan.start.replace(tzinfo=BEIJING)
    return _Mail(
        env_id=str(400_000_000 + plan.seed % 1000 * 1_000_000_000 + index),
        msg_id=f"{random.getrandbits(40):012d}{'=+' if index % 50 == 0 else ''}",
        account=random.choice(plan.accounts),
        region=random.choice(plan.regions),
        tag=random.choice(plan.tags),
        accepted=start + timedelta(seconds=index // 500),
    )


def _result(plan: Plan, index: int, mail: _Mail, random: Random, *, kind: Kind, domain: str) -> Result:
    form: Form = random.choice(("text", "later", "cloudevents")) if plan.form == "mixed" else plan.form
    name = random.choice(_NAMES) + str(index)
    if random.random() < plan.odd:
        name = random.choice(_ODD).format(n=name)
    rcpt = f"{name}@{domain}"
    feedback = form == "cloudevents" and random.random() < plan.feedback
    kind = "success" if feedback else kind
    reply = random.choice(REPLIES[kind])
    ip = f"47.90.{index % 200}.{random.randrange(1, 255)}"
    delivered = "Deliver:SendSuccessfully" if kind == "success" else "Deliver:SendFailed"
    return Result(
        index=index, form=form, type=random.choice(FEEDBACK) if feedback else delivered, env_id=mail.env_id,
        msg_id=mail.msg_id, account=mail.account, rcpt=rcpt, recv_time=_text(mail.accepted),
        end_time=_text(mail.accepted + timedelta(seconds=random.randrange(0, 5))), status=STATUS[kind],
        region=mail.region, err_code=reply.code, err_msg=_filled(reply, rcpt, domain, ip),
        failed_type=reply.failed_type, tag=mail.tag, outbound_ip=ip,
    )  # fmt: skip


def _filled(reply: Reply, rcpt: str, domain: str, ip: str) -> str:
    return reply.text.replace("{rcpt}", rcpt).replace("{domain}", domain).replace("{ip}", ip)


def _text(time: datetime) -> str:
    return f"{time.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}"
