"""Plugins that do what they must not: it costs their own events, with a reason that names them, and nobody else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import structlog
import trio.testing
from fakes.delivery import ONE, Books, Scripted, chunk, delivery, ids, running
from msgspec.structs import replace
from structlog.testing import capture_logs

from router.errors import Partial, Reject, Retry
from router.event import Batch, Event
from router.plugin import Deliver, Sink, Step

pytestmark = pytest.mark.anyio
TRIO = ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return TRIO


@pytest.fixture
def said() -> Iterator[list[Any]]:
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines


class Returns(Step, frozen=True, kw_only=True):
    """Returns what it is told to make of an event."""

    make: Callable[[Event], Any]

    def apply(self, event: Event) -> Any:
        return self.make(event)


async def waits(event: Event) -> Event:
    return event


def exits(_: Event) -> None:
    raise SystemExit(3)


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("nothing to say")


def fails_mutely(_: Event) -> None:
    raise Mute


def fails_in_a_group(_: Event) -> None:
    raise ExceptionGroup("many", [ValueError("one"), ExceptionGroup("more", [KeyError("two"), ValueError("one")])])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: {"id": "x"}, "step Returns: it returned dict, no Event and not None"),
        (lambda e: e.fields, "step Returns: it returned Note, no Event and not None"),
        (lambda e: replace(e, id="0" * 32), "step Returns: it returned an event with another id, '" + "0" * 32 + "'"),
        (waits, "step Returns: it returned a coroutine: `apply` must not be async"),
        (lambda e: replace(e, fields={"a": 1}), "step Returns: it returned an event whose fields are no struct"),
        (lambda e: replace(e, message=b"x"), "step Returns: it returned an event whose fields are no struct, or that"),
        (lambda e: replace(e, source=object()), "step Returns: it returned an event that cannot be written"),
        (lambda e: e.message.attributes.update(a="b"), "step Returns: TypeError: an event belongs to all subscr"),
        (exits, "step Returns: SystemExit: 3"),
        (fails_mutely, "step Returns: Mute: (its text fails with KeyError)"),
        (fails_in_a_group, "step Returns: ValueError: one; KeyError: 'two'"),
    ],
)
async def test_what_a_step_must_not_return_is_a_dead_letter_that_names_it(
    make: Callable[[Event], Any], reason: str, said: list[Any]
) -> None:
    books, sink = Books(chunk(1, "ab")), Scripted(calls=[])
    good = ids("b")[0]
    step = Returns(make=lambda e: e if e.id == good else make(e))
    async with running(delivery(sink, books, steps=[step])):
        await trio.testing.wait_all_tasks_blocked()
    assert sink.batches == [[good]], "the others are delivered"
    [letter] = books.letters
    assert letter.reason.startswith(reason)
    assert (letter.kind, letter.event.id) == ("config", ids("a")[0])
    assert not [line for line in said if "does not open" in line["event"]]


class Odd(Sink, frozen=True, kw_only=True):
    """Does what it is told at its first call, and works from then on."""

    first: Callable[[Batch], Any]
    calls: list[list[str]] = []

    def deliver(self, batch: Batch) -> Any:
        self.calls.append([event.id for event in batch])
        return self.first(batch) if len(self.calls) == 1 else self._work()

    async def _work(self) -> None:
        await anyio.lowlevel.checkpoint()


def raising(error: BaseException) -> Callable[[Batch], Any]:
    async def fail(_: Batch) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    return fail


async def answers(_: Batch) -> Any:
    return {"ok": True}


def partial(errors: Any) -> Callable[[Batch], Any]:
    return raising(Partial(errors))


SENSE = "the sink Odd raised a Partial that makes no sense: "


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (partial({5: Retry("full")}), SENSE + "it names 5 of a batch of 3"),
        (partial({-1: Reject("no")}), SENSE + "it names -1 of a batch of 3"),
        (partial({"0": Reject("no")}), SENSE + "it names '0' of a batch of 3"),
        (partial({True: Reject("no")}), SENSE + "it names True of a batch of 3"),
        (partial({1.0: Reject("no")}), SENSE + "it names 1.0 of a batch of 3"),
        (partial({0: ValueError("odd")}), SENSE + "it has ValueError, not Retry or Reject, for 0"),
        (partial({0: "no"}), SENSE + "it has str, not Retry or Reject, for 0"),
        (partial({}), SENSE + "it names no event"),
        (partial([Retry("x")]), SENSE + "it has list, no mapping of indices to errors"),
        (lambda _: None, "the sink Odd does not work: it returned NoneType, not a coroutine: `deliver` must be async"),
        (answers, "the sink Odd returned dict, not None: it is not known what it delivered"),
        (lambda b: b.clear(), "TypeError: an event belongs to all subscriptions: this list cannot be changed"),
        (raising(ExceptionGroup("g", [ExceptionGroup("h", [KeyError("deep")])])), "KeyError: 'deep'"),
        (raising(BaseExceptionGroup("g", [SystemExit(1)])), "SystemExit: 1"),
        (raising(SystemExit("bye")), "SystemExit: bye"),
        (raising(Mute()), "Mute: (its text fails with KeyError)"),
        (raising(ExceptionGroup("g", [Retry("busy", 1), Reject("no")])), "busy; no"),
        (raising(Retry("busy", -5)), "busy"),
        (raising(Retry("busy", "soon")), "busy"),  # type: ignore[arg-type]
        (raising(Retry("busy", math.nan)), "busy"),
        (raising(Retry("busy", math.inf)), "busy"),
        (raising(Retry(ValueError("busy"))), "busy"),  # type: ignore[arg-type]
    ],
)
async def test_what_a_sink_must_not_do_is_another_try_of_the_batch_and_delivers_nothing_silently(
    first: Callable[[Batch], Any], reason: str, said: list[Any]
) -> None:
    books, sink = Books(chunk(1, "abc")), Odd(first=first, calls=[])
    async with running(delivery(sink, books, ONE)):
        await anyio.sleep(100)
    assert sink.calls == [ids("abc")] * 2, "all of it is tried again, and that works"
    assert (books.progress.delivered, books.progress.dead, books.progress.parked) == (3, 0, 0)
    told = [line["reason"] for line in said if line["event"] == "delivery failed"]
    assert len(told) == 1
    assert told[0].startswith(reason)
    assert not [line for line in said if "open" in line["event"]]


async def test_a_group_of_refusals_is_a_refusal() -> None:
    books = Books(chunk(1, "a"))
    sink = Odd(first=raising(ExceptionGroup("g", [Reject("no such user", 400)])), calls=[])
    async with running(delivery(sink, books)):
        await anyio.sleep(1000)
    [letter] = books.letters
    assert (letter.reason, letter.status, letter.kind) == ("no such user", 400, "refused")


async def test_a_traceback_of_a_plugin_is_logged_once_for_each_place(said: list[Any]) -> None:
    def fails(batch: Batch) -> Any:
        return raising(KeyError("x"))(batch)

    sink = Scripted(answer=lambda batch: KeyError("x") if len(sink.calls) < 20 else None, calls=[])
    async with running(delivery(sink, Books(chunk(1, "a")))):
        await anyio.sleep(100_000)
    traced = [line for line in said if line.get("exc_info")]
    assert [line["event"] for line in traced] == ["unexpected error of a plugin"]
    assert (traced[0]["plugin"], traced[0]["error"]) == ("Scripted", "KeyError: 'x'")
    assert len([line for line in said if line["event"] == "delivery failed"]) > 1


async def test_what_a_destination_refuses_or_a_network_does_has_no_traceback(said: list[Any]) -> None:
    errors = [Retry("busy"), ConnectionRefusedError("nobody"), TimeoutError(), Reject("no", 400)]
    async with running(delivery(Scripted(script=[*errors], calls=[]), Books(chunk(1, "a")))):
        await anyio.sleep(1000)
    assert not [line for line in said if line.get("exc_info")]


class Blocks(Sink, frozen=True, kw_only=True):
    """Its block does what it is told, the first time."""

    block: Callable[[Deliver], AsyncGenerator[Any]]
    opened: list[int] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Any]:
        self.opened.append(1)
        if len(self.opened) > 1:
            yield self.deliver
            return
        async with asynccontextmanager(self.block)(self.deliver) as given:
            yield given

    async def deliver(self, batch: Batch) -> None:
        await anyio.lowlevel.checkpoint()


async def yields_nothing(deliver: Deliver) -> AsyncGenerator[Any]:
    if not callable(deliver):
        yield


async def yields_a_text(_: Deliver) -> AsyncGenerator[Any]:
    yield "deliver"


async def leaves_by_exit(_: Deliver) -> AsyncGenerator[Any]:
    raise SystemExit(1)
    yield


async def fails_while_open(deliver: Deliver) -> AsyncGenerator[Any]:
    async def fail() -> None:
        await anyio.sleep(1)
        raise KeyError("lost")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail)
        yield deliver


@pytest.mark.parametrize(
    ("block", "when", "reason"),
    [
        (yields_nothing, "sink does not open", "Blocks: RuntimeError: generator didn't yield"),
        (yields_a_text, "sink does not open", "Blocks: TypeError: it yields str, which cannot be called"),
        (leaves_by_exit, "sink does not open", "Blocks: SystemExit: 1"),
        (fails_while_open, "sink failed while it was open or closed", "Blocks: KeyError: 'lost'"),
    ],
)
async def test_only_opening_is_called_opening_and_the_sink_is_opened_again(
    block: Any, when: str, reason: str, said: list[Any]
) -> None:
    books, sink = Books(chunk(1, "a")), Blocks(block=block, opened=[])
    async with running(delivery(sink, books)):
        await anyio.sleep(10)
        books.chunks.append(chunk(2, "b"))
        books.wake.set()
        await anyio.sleep(1000)
    assert len(sink.opened) == 2
    assert [(line["event"], line["error"]) for line in said if "sink" in line["event"]] == [(when, reason)]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_that_nobody_asked_for_is_an_error_as_any_other(anyio_backend: str) -> None:
    """Libraries let out what a future of theirs was cancelled with; the subscription would stop without a word."""
    books, sink = Books(chunk(1, "abc")), Odd(first=raising(asyncio.CancelledError()), calls=[])
    async with running(delivery(sink, books, replace(ONE, retry_min=0.01))):
        with anyio.fail_after(10):
            while books.progress.delivered < 3:
                await anyio.sleep(0.01)
    assert sink.calls == [ids("abc")] * 2
