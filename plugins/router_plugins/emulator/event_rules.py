"""DirectMail's event rules of an account: created and deleted, never changed, and what a result reaches through them.

Everything here is synchronous and pure but for the clock; what must be pushed over HTTP is returned.
"""

from __future__ import annotations

from router_plugins.emulator import checks
from router_plugins.emulator.account import Account
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.ledger import Origin
from router_plugins.emulator.queued import Clock
from router_plugins.emulator.rules import ACTIVATION, Rule, RuleOrder, rule_of, subscription_name
from router_plugins.emulator.topic import Push, SubscriptionAttributes, TopicAttributes


class EventRules:
    """The rules of an account by their names. A rule takes effect `delay` seconds after its creation."""

    def __init__(self, account: Account, clock: Clock, *, delay: float = ACTIVATION, fast: float = 1) -> None:
        self.by_name: dict[str, Rule] = {}
        self._account = account
        self._clock = clock
        self._delay = delay
        self._fast = fast

    def create(self, order: RuleOrder) -> Rule:
        """Make a rule, with its topic and subscriptions when it has endpoints; raises before it changes anything."""
        if order.name in self.by_name:
            raise ServiceError("RuleAlreadyExist")
        for endpoint in order.endpoints:
            checks.check_terminal(endpoint, self._account.resource)
        delay = self._delay if order.delay is None else order.delay
        rule = rule_of(order, self._clock(), delay / self._fast)
        if rule.own_topic:
            self._account.create_topic(rule.topic, TopicAttributes())
        for number, endpoint in enumerate(rule.endpoints):
            attributes = SubscriptionAttributes(
                endpoint=endpoint, notify_strategy=order.strategy, notify_content_format=order.content_format
            )
            self._account.subscribe(rule.topic, subscription_name(rule, number), attributes)
        self.by_name[rule.name] = rule
        return rule

    def delete(self, name: str) -> None:
        """Delete the rule, and the topic that was made for it; raise `RuleNotExist`."""
        rule = self.by_name.pop(name, None)
        if rule is None:
            raise ServiceError("RuleNotExist")
        if rule.own_topic:
            self._account.delete_topic(rule.topic)

    def wanting(self, event_type: str, region: str) -> list[Rule]:
        """Return the active rules that want results of this type and region."""
        now = self._clock()
        return [rule for rule in self.by_name.values() if rule.wants(event_type, region, now)]

    def publish(self, body: str, rules: list[Rule], origin: Origin) -> list[Push]:
        """Publish a result through these rules; return the pushes to make."""
        pushes: list[Push] = []
        for rule in rules:
            if rule.topic in self._account.topics:
                pushes += self._account.publish(rule.topic, body, origin=origin)[1]
            else:
                self._account.undeliverable += 1
        return pushes
