"""Campaigns: what became of a mailing, as a plan that always yields the same results."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Annotated, Literal

import msgspec

from router_plugins.emulator.replies import REPLIES, STATUS, USUAL_MIX, Kind, Mix, Reply

Form = Literal["text", "later", "cloudevents", "mixed"]
"""How results are written; `mixed` takes turns (see `router_plugins.emulator.forms`)."""

FEEDBACK = ("Feedback:FblReport", "Feedback:Subscribe", "Feedback:UnSubscribe", "Trace:Click", "Trace:Open")
"""What recipients do afterwards; documented in the CloudEvents form only (PROTOCOL 3.2)."""

BEIJING = timezone(timedelta(hours=8))
"""The text form names no zone; Beijing time is implied for cn-hangzhou (PROTOCOL 3.1)."""

_DOMAINS = {
    "qq.com": 30, "163.com": 16, "gmail.com": 14, "126.com": 6, "outlook.com": 6, "hotmail.com": 4, "sina.com": 3,
    "yahoo.co.jp": 3, "yahoo.com": 3, "icloud.com": 3, "foxmail.com": 3, "gmx.de": 2, "web.de": 2, "orange.fr": 2,
    "aliyun.com": 2, "docomo.ne.jp": 1, "mail.ru": 1, "shop.example.com": 1, "xn--fiqs8s.example": 1,
}  # fmt: skip
_NAMES = ("li.wei", "wang.fang", "zhang", "anna", "jean-luc", "yuki", "müller", "o'brien", "liu_yang", "maria")
_ODD = ("{n}+news", "{n}=bounce", "{n}&co", "{n}%40home", "{n}+a=b&c", "{n}%2B1")
"""Local parts that a careless parser of `key=value&...` text breaks on."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign sends; two equal plans yield equal results.

    `results`: how many. `accounts`, `regions`: senders and regions, taken evenly. `mix`: weights by kind.
    `feedback`: share of opens, clicks and the like (in the CloudEvents form only). `odd`: share of recipients
    with `+`, `=`, `&` or `%` in the address. `start`: when the first mail was accepted, now by default.
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
    mix: Mix = msgspec.field(default_factory=USUAL_MIX.copy)
    feedback: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    odd: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    tags: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("spring", "orders", "")
    start: datetime = msgspec.field(default_factory=lambda: datetime.now(BEIJING).replace(microsecond=0))

    def __post_init__(self) -> None:
        """Refuse a mix that says nothing."""
        if min(self.mix.values(), default=0) < 0 or not sum(self.mix.values()) > 0:
            raise ValueError("mix needs weights of 0 or more, and one above 0")


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


def campaign(plan: Plan) -> Iterator[Result]:
    """Yield the plan's results; (env_id, rcpt) is unique, and about a tenth of them share an env_id."""
    random = Random(plan.seed)  # noqa: S311 - repeatable on purpose
    kinds, weights = list(plan.mix), list(plan.mix.values())
    domains, shares = list(_DOMAINS), list(_DOMAINS.values())
    kind_of = random.choices(kinds, weights, k=plan.results)
    domain_of = random.choices(domains, shares, k=plan.results)
    mail: _Mail | None = None
    for index in range(plan.results):
        if mail is None or random.random() >= 0.1:  # noqa: PLR2004 - the tenth that the docstring names
            mail = _mail(plan, index, random)
        yield _result(plan, index, mail, random, kind=kind_of[index], domain=domain_of[index])


def _mail(plan: Plan, index: int, random: Random) -> _Mail:
    return _Mail(
        env_id=str(400_000_000 + plan.seed % 1000 * 1_000_000_000 + index),
        msg_id=f"{random.getrandbits(40):012d}{'=+' if index % 50 == 0 else ''}",
        account=random.choice(plan.accounts),
        region=random.choice(plan.regions),
        tag=random.choice(plan.tags),
        accepted=plan.start + timedelta(seconds=index // 500),
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
