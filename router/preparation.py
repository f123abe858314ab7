"""Preparation: events become batches that can be tried. The steps are applied; what is left is cut and put in lanes.

What the steps leave out is filtered, what they fail on is dead: neither is ever tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import structlog

from router.errors import Reject
from router.event import Event
from router.journal import DeadLetter
from router.plugin import Step
from router.retry import Policy
from router.settlement import faulty
from router.steps import apply
from router.work import Work

log = structlog.get_logger("delivery")


class Prepared(msgspec.Struct, frozen=True):
    """What is left of a batch to be tried, the positions that the steps left out, and what they failed on."""

    work: Work
    filtered: Sequence[int] = ()
    dead: Sequence[DeadLetter] = ()


def prepare(steps: Sequence[Step], work: Work) -> Prepared:
    """Apply the steps to a batch of events as they were journalled, of any size."""
    if not steps:
        return Prepared(work)
    kept: list[int] = []
    events: list[Event] = []
    filtered: list[int] = []
    dead: list[DeadLetter] = []
    unexpected: BaseException | None = None
    for index, event in enumerate(work.events):
        result = apply(steps, event)
        if isinstance(result, Reject):
            unexpected = unexpected or result.__cause__
            dead.append(faulty(work, index, result, work.first_try))
        elif result is None:
            filtered.append(work.positions[index])
        else:
            kept.append(index)
            events.append(result)
    if unexpected is not None:
        log.warning("unexpected error of a plugin", error=dead[0].reason, exc_info=unexpected)
    left = work.only(kept, 0)
    return Prepared(msgspec.structs.replace(left, events=events, originals=left.events), filtered, dead)


def cut(policy: Policy, work: Work) -> Iterator[Work]:
    """Cut prepared events into batches, each in its lane if order matters."""
    for lane in _lanes(policy, work):
        size = len(lane.events)
        if size <= policy.batch:
            yield lane
            continue
        for start in range(0, size, policy.batch):
            yield lane.part(start, start + policy.batch)


def _lanes(policy: Policy, work: Work) -> Iterator[Work]:
    if not work.events:
        return
    if policy.single:
        yield msgspec.structs.replace(work, lane="")
    elif not policy.ordered or work.troubles:  # what was given up on once is out of order
        yield work
    else:
        replayed = "again:" if work.rerun else ""  # what is past is in order, too, but holds up nothing new
        lanes: dict[str, list[int]] = {}
        for index, event in enumerate(work.events):
            value = event.get(policy.key) if policy.key else ""
            lanes.setdefault(f"{replayed}{value}", []).append(index)
        for lane, indices in lanes.items():
            yield msgspec.structs.replace(work.only(indices, 0), lane=lane)
