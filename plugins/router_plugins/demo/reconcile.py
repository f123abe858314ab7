"""What should have arrived where, from the emulator's books, against what did, by (env_id, rcpt).

The expectations repeat config/demo.yaml in plain Python on purpose: they must not be computed by the code that
they judge. Ids are not compared: a masked event's is another one than that of its result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import orjson

from router_plugins.demo.receiver import Key


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One result that the emulator sent, as its ledger has it."""

    env_id: str
    rcpt: str
    account: str
    type: str
    status: str
    pushes: int
    answered: int
    queued: int
    deleted: int

    @property
    def acknowledged(self) -> bool:
        """Whether the router answered for it."""
        return self.answered + self.deleted > 0


class Reconciled(msgspec.Struct, frozen=True):
    """One subscription of the demo: how many results it should have got, and how that compares."""

    name: str
    expected: int
    arrived: int
    missing: int
    duplicates: int
    unexpected: int


def _sales(sent: Sent) -> bool:
    """Sales sees its own results, and the agency's, which sends under a grant of sales."""
    return sent.account.endswith(("@shop.example.com", "@mail.agency.example"))


def _failed(sent: Sent) -> bool:
    return sent.type == "Deliver:SendFailed"


EXPECTED: Mapping[str, Callable[[Sent], bool]] = {
    "sales/resend": lambda s: _sales(s) and _failed(s) and s.status in {"3", "4"},
    "sales/failures": lambda s: _sales(s) and _failed(s),
    "sales/archive": _sales,
    "agency/bounces": lambda s: s.account.endswith("@mail.agency.example") and _failed(s) and s.status != "3",
    "statistics/all": lambda _: True,
}
FILES = {"sales/failures": "sales-failures", "sales/archive": "sales-archive", "statistics/all": "statistics"}
"""The subscriptions that write files, and the folders of them."""


def reconcile(name: str, expected: Iterable[Key], arrived: Counter[Key]) -> Reconciled:
    """Compare what should have arrived with what did."""
    wanted = set(expected)
    return Reconciled(
        name=name,
        expected=len(wanted),
        arrived=sum(arrived.values()),
        missing=len(wanted - arrived.keys()),
        duplicates=sum(arrived.values()) - len(arrived),
        unexpected=len(arrived.keys() - wanted),
    )


def read_files(folder: Path) -> Counter[Key]:
    """Count what the JSON lines under a folder hold."""
    return Counter(
        (fields["env_id"], fields["rcpt"]) for path in sorted(folder.rglob("*.jsonl")) for fields in _lines(path)
    )


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)
