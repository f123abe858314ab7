"""The plan of a change: what a new config adds, removes and changes while the router runs, and what it cannot."""

from __future__ import annotations

import hashlib

import msgspec

from router.config.model import Config, Department, Subscription
from router.match import Route

FIXED = ("state", "journal", "decoder", "admin", "watch")
"""Keys that only a restart can change."""


class Planned(msgspec.Struct, frozen=True):
    """A subscription as the engine sees it. `pattern` digests all that decides which events it wants."""

    name: str
    route: Route
    subscription: Subscription
    pattern: str


class Plan(msgspec.Struct, frozen=True):
    """Names of subscriptions (`department/name`) and sources (`sources.name`), and keys that need a restart."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    restart: tuple[str, ...]
    draining: tuple[str, ...] = ()
    """Those of the removed that first deliver what they have."""
    said: tuple[str, ...] = ()
    """What became of what subscriptions have not delivered, a line each."""

    def __str__(self) -> str:
        parts = [(word, getattr(self, word)) for word in ("added", "removed", "changed", "draining")]
        said = "; ".join(f"{word}: {', '.join(names)}" for word, names in parts if names)
        return "\n".join([f"{said or 'nothing changed'}; {len(self.unchanged)} unchanged", *self.said])


def visible(departments: dict[str, Department], name: str) -> tuple[str, ...]:
    """Return the account patterns that a department may see: its own, and those of the ones that share with it."""
    own = departments[name].accounts
    granted = [a for d in departments.values() if name in d.shares_with for a in d.accounts]
    return tuple(dict.fromkeys([*own, *granted]))


def subscriptions(config: Config) -> list[Planned]:
    """Return every subscription, in the order of the config."""
    return [
        _planned(f"{department}/{name}", visible(config.departments, department), subscription)
        for department, owner in config.departments.items()
        for name, subscription in owner.subscriptions.items()
    ]


def _planned(name: str, accounts: tuple[str, ...], subscription: Subscription) -> Planned:
    route = Route(accounts, subscription.match)
    text = repr((route, subscription.steps))
    return Planned(name, route, subscription, hashlib.blake2b(text.encode(), digest_size=8).hexdigest())


def plan(old: Config, new: Config) -> Plan:
    """Compare two configs."""
    before: dict[str, object] = {p.name: p for p in subscriptions(old)}
    before |= {f"sources.{name}": source for name, source in old.sources.items()}
    after: dict[str, object] = {p.name: p for p in subscriptions(new)}
    after |= {f"sources.{name}": source for name, source in new.sources.items()}
    return Plan(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(name for name in after if name in before and before[name] != after[name]),
        unchanged=tuple(name for name in after if name in before and before[name] == after[name]),
        restart=tuple(key for key in FIXED if getattr(old, key) != getattr(new, key)),
    )
