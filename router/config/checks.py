"""Mistakes that only show when the parts of a config are seen together.

These work on whatever could be made of a config, so that they are reported beside all other mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from itertools import combinations
from typing import Any

from router.config.model import Admin
from router.config.problem import Problems
from router.hint import nearest
from router.listeners import addresses, clash
from router.match import Path, Vocabulary
from router.plugin import Source


def check_departments(names: list[str], built: Mapping[Path, Any], problems: Problems) -> None:
    """Refuse grants to nobody, and departments that can see nothing. `names` are the departments' as written."""
    receivers: set[str] = set()
    for name in names:
        grants = ("departments", name, "shares_with")
        for index, receiver in enumerate(built.get(grants, ())):
            receivers.add(receiver)
            if receiver not in names:
                others = [other for other in names if other != name]
                problems.add((*grants, index), f"there is no department `{receiver}`", nearest(receiver, others))
            elif receiver == name:
                problems.add((*grants, index), "a department sees its own results anyway", "remove it")
    for name in names:
        place: Path = ("departments", name)
        known = not problems.at(place) and not problems.below((*place, "accounts"))
        if known and not built.get((*place, "accounts")) and name not in receivers:
            problem = "it can see nothing: it has no accounts, and nobody shares with it"
            problems.add(place, problem, 'add `accounts: ["*@your-domain.example"]`')


def check_listeners(built: Mapping[Path, Any], problems: Problems) -> None:
    """Refuse two listeners on one address; port 0 is any free port."""
    listeners: list[tuple[Path, str]] = [(("admin",), built.get(("admin",), Admin()).listen)]
    for path, value in built.items():
        if len(path) == 2 and path[0] == "sources":  # noqa: PLR2004
            listeners += [(path, one) for one in addresses(getattr(value, "listen", None))]
    for (first, one), (second, other) in combinations(listeners, 2):
        if clash(one, other):
            problem = f"{'.'.join(map(str, first))} listens on `{one}` already"
            problems.add((*second, "listen"), problem, "each needs a port of its own")


def check_workers(built: Mapping[Path, Any], problems: Problems) -> None:
    """Refuse several processes for a source that runs in one only."""
    for path, value in built.items():
        source = value if len(path) == 2 and path[0] == "sources" and isinstance(value, Source) else None  # noqa: PLR2004
        if source and source.workers and not source.parallel:
            problems.add((*path, "workers"), "a source of this type runs in one process only", "remove `workers`")


def check_tests(built: Mapping[Path, Any], problems: Problems) -> None:
    """Refuse tests that speak of subscriptions and sources that are not there."""
    owners = {path: value for path, value in built.items() if path[:1] == ("departments",)}
    names = [f"{path[1]}/{path[3]}" for path in owners if len(path) == 4 and path[2] == "subscriptions"]  # noqa: PLR2004
    sources = [str(path[1]) for path in built if len(path) == 2 and path[0] == "sources"]  # noqa: PLR2004
    for path, value in built.items():
        if len(path) == 5 and path[0] == "tests" and path[3] == "subscriptions" and value not in names:  # noqa: PLR2004
            problems.add(path, f"there is no subscription `{value}`", nearest(value, names))
        elif len(path) == 3 and path[0] == "tests" and path[2] == "source" and value and value not in sources:  # noqa: PLR2004
            problems.add(path, f"there is no source `{value}`", nearest(value, sources))


def check_accounts(built: Mapping[Path, Any], account: str, vocabulary: Vocabulary, problems: Problems) -> None:
    """Refuse accounts without a wildcard that no sender can have."""
    values = vocabulary.values.get(account)
    for path, value in built.items():
        named = len(path) == 4 and path[0] == "departments" and path[2] == "accounts"  # noqa: PLR2004
        if named and values is not None and not set("*?[") & set(value) and not values.include(value):
            problems.add(path, f"`{value}` is no account, which is {values.said}", f"did you mean `*{value}`?")


def check_expectations(built: Mapping[Path, Any], vocabulary: Vocabulary, problems: Problems) -> None:
    """Refuse tests that expect of a field what it can never be."""
    for path, value in built.items():
        if len(path) == 5 and path[0] == "tests" and path[2:4] == ("expect", "fields"):  # noqa: PLR2004
            name = str(path[4])
            if name in vocabulary.values or name in {"type", "source"}:
                fault = vocabulary.judged(name, str(value))[1]
                if fault is not None:
                    problems.add(path, *fault)


def check_renames(built: Mapping[Path, Any], problems: Problems) -> None:
    """Refuse new names that no subscription has, or that two are to get, and old ones that are still in use."""
    owners = [path for path in built if len(path) == 4 and path[0] == "departments" and path[2] == "subscriptions"]  # noqa: PLR2004
    names = [f"{path[1]}/{path[3]}" for path in owners]
    rename: Mapping[str, str] = built.get(("rename",), {})
    taken: dict[str, str] = {}
    for old, new in rename.items():
        place: Path = ("rename", old)
        if old in names:
            problems.add(place, f"there is a subscription `{old}`", "take it out, or do not rename it")
        if new not in names:
            problems.add(place, f"there is no subscription `{new}`", nearest(new, names))
        elif new in taken:
            problems.add(place, f"`{taken[new]}` is to be `{new}` already", "two cannot become one")
        taken.setdefault(new, old)


def check_admin(built: Mapping[Path, Any], problems: Problems) -> None:
    """Refuse an admin API that other machines can reach and that has no token."""
    admin: Admin = built.get(("admin",), Admin())
    host = admin.listen.rpartition(":")[0].strip("[]")
    if admin.token is None and not _is_loopback(host):
        problem = f"other machines reach `{admin.listen}`, and without a token they may change everything"
        problems.add(("admin", "listen"), problem, "add `token: ${ADMIN_TOKEN}`, or listen on 127.0.0.1")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
