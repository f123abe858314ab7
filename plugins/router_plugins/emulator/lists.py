"""What the lists of `router emulator` show of each thing; `--json` prints all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from router_plugins.emulator import remote

At = Annotated[str, typer.Option(help="ADDRESS:PORT of the emulator.")]
Json = Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")]
HERE = "127.0.0.1:6060"

Columns = Mapping[str, Callable[[Any], object]]
"""What stands above a column, and what it shows of a row."""

KINDS: Mapping[str, tuple[str, str, Columns]] = {
    "rule": (
        "rules",
        "event rules",
        {
            "rule": lambda r: r["name"],
            "event types": lambda r: "\n".join(r["types"]),
            "region": lambda r: r["region"],
            "terminal": lambda r: "\n".join(r["endpoints"]) or f"topic {r['topic']}",
            "state": lambda r: "active" if r["active"] else f"active from {_clock(r['active_from'])}",
        },
    ),
    "bus": (
        "bus",
        "rules of EventBridge's bus",
        {
            "rule": lambda r: r["name"],
            "event types": lambda r: "\n".join(r["types"]),
            "region": lambda r: r["region"],
            "target": lambda r: r["target"]["attributes"]["Endpoint"],
            "token": lambda r: r["token"],
            "strategy": lambda r: r["target"]["attributes"]["NotifyStrategy"],
            "backoff": lambda r: r["backoff"] or "",
        },
    ),
    "queue": (
        "queues",
        "queues",
        {
            "queue": lambda q: q["name"],
            "active": lambda q: q["counts"]["active"],
            "received": lambda q: q["counts"]["inactive"],
            "delayed": lambda q: q["counts"]["delayed"],
            "visibility timeout": lambda q: f"{q['attributes']['VisibilityTimeout']} s",
        },
    ),
    "topic": (
        "topics",
        "topics",
        {
            "topic": lambda t: t["name"],
            "published": lambda t: t["published"],
            "subscriptions": lambda t: len(t["subscriptions"]),
        },
    ),
    "subscription": (
        "subscriptions",
        "subscriptions",
        {
            "topic": lambda s: s["topic"],
            "subscription": lambda s: s["name"],
            "endpoint": lambda s: s["attributes"]["Endpoint"],
            "format": lambda s: s["attributes"]["NotifyContentFormat"],
            "strategy": lambda s: s["attributes"]["NotifyStrategy"],
            "tag": lambda s: s["attributes"]["FilterTag"],
            "dead letters to": lambda s: s["attributes"]["DlqPolicy"]["DeadLetterTargetQueue"],
            "backoff": lambda s: s["backoff"] or "",
        },
    ),
}
"""By the word of the command: the path, what they are, and the columns."""

PUSHES: Columns = {
    "time": lambda p: _clock(p["time"]),
    "subscription": lambda p: p["subscription"],
    "endpoint": lambda p: p["endpoint"],
    "attempt": lambda p: p["attempt"],
    "answer": lambda p: p["status"] or p["error"],
    "took": lambda p: f"{p['seconds'] * 1000:.0f} ms",
    "next try": lambda p: "" if p["next_try"] is None else f"in {p['next_try']:.1f} s",
}


CAMPAIGNS: Columns = {
    "campaign": lambda c: c["id"],
    "results": lambda c: c["results"],
    "sent": lambda c: c["sent"],
    "pushes": lambda c: c["pushed"],
    "answered": lambda c: c["answered"],
    "given up": lambda c: c["given_up"],
    "queued": lambda c: c["queued"],
    "deleted": lambda c: c["deleted"],
    "state": lambda c: "finished" if c["finished"] else "under way",
}


def lister(kind: str) -> Callable[..., None]:
    """Return the command that lists all of a kind."""
    path, words, columns = KINDS[kind]

    def list_them(*, as_json: Json = False, at: At = HERE) -> None:
        rows = remote.ask(at, "GET", f"/{path}")
        remote.show(rows) if as_json else remote.table(rows, columns)

    list_them.__doc__ = f"List the {words}."
    return list_them


def pushes(*, limit: int = 20, as_json: Json = False, at: At = HERE) -> None:
    """Show what the last pushes were answered."""
    rows = remote.ask(at, "GET", f"/pushes?limit={limit}")
    remote.show(rows) if as_json else remote.table(rows, PUSHES)


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%H:%M:%S}"
