"""EventBridge's event bus: rules whose target gets each result of their types as a CloudEvent (PROTOCOL 3.2).

Everything here is synchronous and pure but for the clock; what must be pushed over HTTP is returned. To the books of
pushes a rule is a subscription of a topic whose name no topic can have.
"""

from __future__ import annotations

import secrets
from hashlib import md5
from typing import Annotated

import msgspec

from router_plugins.emulator import checks
from router_plugins.emulator.account import Account
from router_plugins.emulator.campaign import Result
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.forms import cloud_event
from router_plugins.emulator.ledger import Origin
from router_plugins.emulator.queued import Clock
from router_plugins.emulator.rules import RuleName, canonical
from router_plugins.emulator.topic import Push, Strategy, Subscription, SubscriptionAttributes, TopicMessage
from router_plugins.mns.eventbridge import SignatureVersion

BUS = "eventbridge/default"
"""What stands for a topic: the bus that events of cloud services come to."""


class BusOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule of the bus to make.

    `types`: event types in either vocabulary. `endpoint`: an HTTP URL, or a queue, which gets the CloudEvent and no
    signature. `token`: the target's token, if it has one. `signatures`: what a push carries; which ones the service
    still sends is not known, so both.
    """

    name: RuleName
    types: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    endpoint: str
    region: str = "cn-hangzhou"
    token: Annotated[str, msgspec.Meta(pattern="^[!-~]*$")] = ""
    strategy: Strategy = "BACKOFF_RETRY"
    signatures: Annotated[tuple[SignatureVersion, ...], msgspec.Meta(min_length=1)] = ("v2", "v1")


class BusRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of the bus; `types` are canonical, `target` is what the books of pushes know."""

    name: str
    types: tuple[str, ...]
    region: str
    token: str
    signatures: tuple[SignatureVersion, ...]
    target: Subscription


class EventBus:
    """The rules of an account's bus by their names; they take effect at once."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self.by_name: dict[str, BusRule] = {}
        self._account = account
        self._clock = clock

    def create(self, order: BusOrder) -> BusRule:
        """Make a rule; raise `RuleAlreadyExist`, or `InvalidArgument` for an endpoint or a type that is none."""
        if order.name in self.by_name:
            raise ServiceError("RuleAlreadyExist")
        checks.check_terminal(order.endpoint, self._account.resource)
        now = self._clock()
        attributes = SubscriptionAttributes(
            endpoint=order.endpoint, notify_strategy=order.strategy, notify_content_format="SIMPLIFIED"
        )
        rule = BusRule(
            name=order.name,
            types=tuple(dict.fromkeys(canonical(name) for name in order.types)),
            region=order.region,
            token=order.token,
            signatures=order.signatures,
            target=Subscription(BUS, order.name, attributes, now, now),
        )
        self.by_name[rule.name] = rule
        return rule

    def delete(self, name: str) -> None:
        """Delete the rule; raise `RuleNotExist`."""
        if self.by_name.pop(name, None) is None:
            raise ServiceError("RuleNotExist")

    def target(self, name: str) -> Subscription | None:
        """Return what a rule's pushes go to, None when the rule is gone."""
        rule = self.by_name.get(name)
        return None if rule is None else rule.target

    def wanting(self, event_type: str, region: str) -> list[BusRule]:
        """Return the rules that want results of this type and region."""
        return [rule for rule in self.by_name.values() if event_type in rule.types and region == rule.region]

    def publish(self, result: Result, rules: list[BusRule], origin: Origin) -> list[Push]:
        """Send a result to the targets of these rules, whatever form its campaign has; return the pushes to make."""
        if not rules:
            return []
        body = cloud_event(result, self._account.number)
        digest = md5(body.encode(), usedforsecurity=False).hexdigest().upper()
        message = TopicMessage(secrets.token_hex(16).upper(), body, digest, "", self._clock(), origin)
        return [push for rule in rules for push in self._account.hand_over(message, [rule.target])]
