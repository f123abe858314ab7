"""Event rules as in DirectMail's console: event types of one region, and where their results go (PROTOCOL 4)."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.forms import CLOUD_TYPES
from router_plugins.emulator.topic import ContentFormat, Strategy

ACTIVATION = 600.0
"""Seconds until a new rule takes effect: "about ten minutes"."""

RuleName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]

_CANONICAL = {cloud: canonical for canonical, cloud in CLOUD_TYPES.items()} | {
    "Deliver:Open": "Trace:Open",
    "Deliver:Click": "Trace:Click",
}


class RuleOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the console asks for.

    `types`: event types in either vocabulary. Terminals are either one `topic`, or `endpoints`: HTTP URLs and
    queues, for which a topic and subscriptions are made with `content_format` and `strategy`. `delay`: seconds
    until the rule takes effect, None for the emulator's own.
    """

    name: RuleName
    types: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    region: str = "cn-hangzhou"
    topic: str | None = None
    endpoints: tuple[str, ...] = ()
    content_format: ContentFormat = "SIMPLIFIED"
    strategy: Strategy = "BACKOFF_RETRY"
    delay: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """An event rule; there is no way to change it. Times in Unix seconds.

    `own_topic`: the topic was made for the rule and goes with it.
    """

    name: str
    types: tuple[str, ...]
    region: str
    topic: str
    own_topic: bool
    endpoints: tuple[str, ...]
    created: float
    active_from: float

    def wants(self, event_type: str, region: str, now: float) -> bool:
        """Say whether a result of this type and region is published by the rule at this time."""
        return event_type in self.types and region == self.region and now >= self.active_from


def rule_of(order: RuleOrder, now: float, delay: float) -> Rule:
    """Make the rule, or raise `InvalidArgument` with what the console would refuse."""
    if (order.topic is None) == (not order.endpoints):
        raise ServiceError("InvalidArgument", "A rule has either one topic or endpoints as its terminals, not both.")
    if order.topic is not None and re.match(r"sms\.", order.topic):
        raise ServiceError("InvalidArgument", f"{order.topic} is a topic for short messages, which takes no results.")
    return Rule(
        name=order.name,
        types=tuple(dict.fromkeys(canonical(name) for name in order.types)),
        region=order.region,
        topic=order.topic or f"mns-en-topics-dm-{_in_names(order.name)}-{int(now * 1000)}",
        own_topic=order.topic is None,
        endpoints=order.endpoints,
        created=now,
        active_from=now + delay,
    )


def canonical(name: str) -> str:
    """Return the canonical name of an event type given in either vocabulary; raise `InvalidArgument` if unknown."""
    found = _CANONICAL.get(name, name)
    if found not in CLOUD_TYPES:
        raise ServiceError("InvalidArgument", f"There is no event type {name!r}; there are {', '.join(CLOUD_TYPES)}.")
    return found


def subscription_name(rule: Rule, number: int) -> str:
    """Name the subscription that is made for a rule's endpoint, as genuine ones are (PROTOCOL 4)."""
    return f"mns-en-subs-dm-{_in_names(rule.name)}-{number}-{int(rule.created * 1000)}"


def _in_names(rule: str) -> str:
    """Return a rule's name as those of topics and subscriptions can contain it."""
    return rule.replace("_", "-")
