"""What was sent and what became of it: the emulator's own books, to reconcile a router against.

A campaign's results can be made again from its plan, so the books keep a few small numbers for each result
and none of its text: a million results take about 10 MB.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator

import msgspec

from router_plugins.emulator.campaign import Plan, campaign

_KEPT = ("copies", "pushes", "answered", "given_up", "queued", "deleted")
"""What is counted for each result."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Which result a message carries: the books that it is in, and its number there."""

    ledger: CampaignLedger
    index: int


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One result in the books.

    `copies`: how often it was published (to each rule that it matched). `rules`: those rules. `pushes`: HTTP
    deliveries to make; `answered`: those that were answered with success; `given_up`: those that were never.
    `queued`: messages put into queues; `deleted`: those that a consumer deleted.
    """

    campaign: str
    index: int
    env_id: str
    rcpt: str
    account: str
    type: str
    status: str
    region: str
    err_code: str
    err_msg: str
    failed_type: str
    msg_id: str
    recv_time: str
    end_time: str
    copies: int
    rules: tuple[str, ...]
    pushes: int
    answered: int
    given_up: int
    queued: int
    deleted: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a campaign is.

    `sent`: published messages, with the duplicates. `unrouted`: those that no rule wanted. `pushed`: HTTP
    deliveries to make; `attempts`: requests made; `redelivered`: those beyond the first; `pending`: deliveries
    neither answered nor given up. `backlog`: messages in queues that are not deleted.
    """

    id: str
    results: int
    sent: int
    duplicates: int
    unrouted: int
    pushed: int
    attempts: int
    answered: int
    redelivered: int
    given_up: int
    pending: int
    queued: int
    deleted: int
    backlog: int
    finished: bool


class CampaignLedger:
    """The books of one campaign."""

    def __init__(self, name: str, plan: Plan) -> None:
        self.name = name
        self.plan = plan
        self.finished = False
        self._sums: Counter[str] = Counter()
        self._of = {what: array("H", bytes(2 * plan.results)) for what in _KEPT}
        self._route = array("H", bytes(2 * plan.results))
        self._routes: list[tuple[str, ...]] = [()]

    def sent(self, index: int, rules: tuple[str, ...]) -> None:
        """Note that the result was published through these rules."""
        self._sums["duplicates"] += self._of["copies"][index] > 0
        self._sums["unrouted"] += not rules
        self._note("copies", index)
        if rules not in self._routes:
            self._routes.append(rules)
        self._route[index] = self._routes.index(rules)

    def pushed(self, index: int) -> None:
        """Note that there is an HTTP delivery to make."""
        self._note("pushes", index)

    def attempted(self, *, again: bool) -> None:
        """Note one HTTP request, the first of its delivery or one made `again`."""
        self._sums["attempts"] += 1
        self._sums["redelivered"] += again

    def answered(self, index: int) -> None:
        """Note that a delivery was answered with success."""
        self._note("answered", index)

    def gave_up(self, index: int) -> None:
        """Note that a delivery was never answered with success and is not tried again."""
        self._note("given_up", index)

    def queued(self, index: int) -> None:
        """Note a message put into a queue."""
        self._note("queued", index)

    def deleted(self, index: int) -> None:
        """Note that a consumer deleted a message."""
        self._note("deleted", index)

    def progress(self) -> Progress:
        """Return the sums."""
        sums = self._sums
        return Progress(
            id=self.name, results=self.plan.results, sent=sums["copies"], duplicates=sums["duplicates"],
            unrouted=sums["unrouted"], pushed=sums["pushes"], attempts=sums["attempts"], answered=sums["answered"],
            redelivered=sums["redelivered"], given_up=sums["given_up"],
            pending=sums["pushes"] - sums["answered"] - sums["given_up"],
            queued=sums["queued"], deleted=sums["deleted"], backlog=sums["queued"] - sums["deleted"],
            finished=self.finished,
        )  # fmt: skip

    def _note(self, what: str, index: int) -> None:
        self._sums[what] += 1
        self._of[what][index] += 1

    def lines(self) -> Iterator[Line]:
        """Yield what was sent, in the order of the campaign."""
        for index, result in enumerate(campaign(self.plan)):
            if not self._of["copies"][index]:
                continue
            yield Line(
                campaign=self.name, index=index, env_id=result.env_id, rcpt=result.rcpt, account=result.account,
                type=result.type, status=result.status, region=result.region, err_code=result.err_code,
                err_msg=result.err_msg, failed_type=result.failed_type, msg_id=result.msg_id,
                recv_time=result.recv_time, end_time=result.end_time, rules=self._routes[self._route[index]],
                **{what: self._of[what][index] for what in _KEPT},
            )  # fmt: skip
