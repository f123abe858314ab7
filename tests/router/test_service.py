"""The engine put together, on a journal in memory: reloads that lose nothing and leave alone what did not change."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import anyio
import msgspec
import pytest
import structlog
import trio
import trio.testing

from router.admin.controls import Choice
from router.config import Config, Department, Subscription
from router.errors import Reject, RouterError
from router.event import Batch, Event, Message
from router.journal.conformance import restore
from router.journal.memory import MemoryJournal
from router.match import ALWAYS, parse
from router.plugin import Count, Decoder, Deliver, Emit, Sink, Source
from router.service import Engine

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock go with trio's, for what is parked is due by the wall clock."""
    monkeypatch.setattr(time, "time", lambda: 1e9 + trio.current_time())


class Word(msgspec.Struct, frozen=True):
    account: str
    word: str


class Words(Decoder, frozen=True, kw_only=True):
    """`account word`."""

    fields: ClassVar[type[msgspec.Struct]] = Word
    account: ClassVar[str] = "account"
    narrow: ClassVar[frozenset[str]] = frozenset(("account", "word"))

    def decode(self, message: Message, source: str) -> Event:
        account, word = bytes(message.body).decode().split(" ", 1)
        time = datetime(2026, 1, 1, tzinfo=UTC)
        name = message.body.hex().rjust(32, "0")[-32:]
        return Event(id=name, type="word", time=time, source=source, fields=Word(account, word), message=message)


class Box(Sink, frozen=True, kw_only=True):
    """Keeps what it gets under its name; `down` ones do not work, `strict` ones refuse."""

    name: str
    got: ClassVar[dict[str, list[str]]] = {}
    opened: ClassVar[list[str]] = []
    down: ClassVar[set[str]] = set()
    strict: ClassVar[set[str]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        self.opened.append(self.name)
        yield self.deliver

    async def deliver(self, batch: Batch) -> None:
        await anyio.sleep(0.1)
        if self.name in self.down:
            raise OSError("down")
        if self.name in self.strict:
            raise Reject("no")
        self.got.setdefault(self.name, []).extend(e.get("word") for e in batch)


class Tap(Source, frozen=True, kw_only=True):
    """Says how often it was started; emits nothing by itself."""

    name: str
    started: ClassVar[list[str]] = []

    async def run(self, emit: Emit, ready: Any, count: Count) -> None:
        self.started.append(self.name)
        ready()
        await anyio.sleep_forever()


@pytest.fixture(autouse=True)
def empty() -> None:
    for kept in (Box.got, Box.opened, Box.down, Box.strict, Tap.started):
        kept.clear()


def config(subscriptions: dict[str, dict[str, Any] | None], *, taps: Sequence[str] = ("a",), **fixed: Any) -> Config:
    made = {
        name: Subscription(to=Box(name=name), match=parse(match, Words()) if match else ALWAYS)
        for name, match in subscriptions.items()
    }
    values: dict[str, Any] = {
        "journal": MemoryJournal(),
        "decoder": Words(),
        "sources": {name: Tap(name=name) for name in taps},
        "departments": {"d": Department(accounts=("*",), subscriptions=made)},
    }
    return Config(**{**values, **fixed})


@asynccontextmanager
async def running(first: Config) -> AsyncGenerator[Engine]:
    async with first.journal.open(Path(), restore) as partition, anyio.create_task_group() as tasks:
        engine = Engine(first, partition, tasks)
        engine.supply(must_start=True)
        yield engine
        tasks.cancel_scope.cancel()


async def say(engine: Engine, *words: str) -> None:
    await engine.intake.emit("a", [Message(f"x@y {word}".encode(), 0.0) for word in words])


async def test_a_reload_starts_what_is_new_and_leaves_alone_what_stays() -> None:
    async with running(config({"all": None})) as engine:
        await say(engine, "one", "two")
        await anyio.sleep(10)
        change = await engine.reload(config({"all": None, "some": {"word": "three"}}))
        await say(engine, "three", "four")
        await anyio.sleep(10)
        status = engine.status().subscriptions
    assert (change.added, change.removed, change.changed) == (("d/some",), (), ())
    assert Box.got == {"all": ["one", "two", "three", "four"], "some": ["three"]}
    assert sorted(Box.opened) == ["all", "some"]
    assert Tap.started == ["a"]
    assert (status["d/some"].journalled, status["d/some"].delivered, status["d/some"].filtered) == (2, 1, 1)


async def test_a_changed_match_counts_anew_and_loses_nothing_that_was_pending() -> None:
    async with running(config({"all": None})) as engine:
        Box.down.add("all")
        await say(engine, "one", "two")
        await anyio.sleep(1)
        await engine.reload(config({"all": {"word": {"prefix": "t"}}}))
        Box.down.clear()
        await say(engine, "three", "four")
        await anyio.sleep(100)
        status = engine.status().subscriptions["d/all"]
    assert Box.got == {"all": ["two", "three"]}
    assert (status.journalled, status.delivered, status.filtered, status.pending) == (4, 2, 2, 0)


async def test_dead_letters_are_carried_into_the_count_of_a_changed_match_and_replayed_from_there() -> None:
    """P4: as are those that were parked."""
    async with running(config({"all": None})) as engine:
        Box.strict.add("all")
        await say(engine, "one", "two", "three")
        await anyio.sleep(10)
        assert await engine.letters.discard("d/all", Choice(positions=frozenset((3,)))) == 1
        await engine.reload(config({"all": {"word": {"prefix": "t"}}}))
        status = engine.status().subscriptions["d/all"]
        assert (status.journalled, status.dead, status.balance) == (2, 2, 0)
        Box.strict.clear()
        assert await engine.letters.replay("d/all", Choice(), 100.0) == 2
        await anyio.sleep(10)
        status = engine.status().subscriptions["d/all"]
    assert Box.got == {"all": ["one", "two"]}
    assert (status.delivered, status.dead, status.parked, status.balance) == (2, 0, 0, 0)


async def test_reloads_under_load_lose_and_double_nothing() -> None:
    """The match of one subscription flips back and forth; the other must not notice."""
    async with running(config({"all": None, "other": {"word": "no"}})) as engine:
        async with anyio.create_task_group() as tasks:

            async def talk() -> None:
                for n in range(300):
                    await say(engine, f"w{n}")
                    await anyio.sleep(0.03)

            tasks.start_soon(talk)
            for n in range(20):
                await anyio.sleep(0.4)
                await engine.reload(config({"all": None, "other": {"word": f"no{n}"}}))
        await anyio.sleep(100)
        status = engine.status().subscriptions
    assert Box.got["all"] == [f"w{n}" for n in range(300)]
    assert Box.opened.count("all") == 1
    assert status["d/all"].delivered == 300


async def test_what_would_be_orphaned_is_refused_unless_it_may_be_dropped() -> None:
    async with running(config({"all": None, "some": None})) as engine:
        Box.down.add("some")
        await say(engine, "one")
        await anyio.sleep(1)
        with pytest.raises(RouterError, match=r"d/some \(1 events\)"):
            await engine.reload(config({"all": None}))
        assert "d/some" in engine.status().subscriptions
        await engine.reload(config({"all": None}), drop=True)
        assert "d/some" not in engine.status().subscriptions
        assert engine.partition.progress("d/some") is None


async def test_what_only_a_restart_can_change_is_refused_and_nothing_changes() -> None:
    async with running(config({"all": None})) as engine:
        with pytest.raises(RouterError, match="only a restart can change: state"):
            await engine.reload(config({"new": None}, state="elsewhere"))
        assert list(engine.status().subscriptions) == ["d/all"]


async def test_sources_come_and_go_with_a_reload() -> None:
    async with running(config({"all": None}, taps=("a", "b"))) as engine:
        await anyio.sleep(1)
        await engine.reload(config({"all": None}, taps=("a", "c")))
        await anyio.sleep(1)
        assert list(engine.status().sources) == ["a", "c"]
    assert (sorted(Tap.started[:2]), Tap.started[2:]) == (["a", "b"], ["c"])


@pytest.mark.parametrize(
    ("start", "got"),
    [("now", ["three"]), ("earliest", ["one", "two", "three"]), ("1h", ["one", "two", "three"]), ("0s", ["three"])],
)
async def test_a_new_subscription_begins_where_it_is_told_to_and_only_when_it_is_new(
    start: str, got: list[str]
) -> None:
    def told(subscriptions: dict[str, dict[str, Any] | None]) -> Config:
        made = config(subscriptions)
        subs = {n: msgspec.structs.replace(s, start=start) for n, s in made.departments["d"].subscriptions.items()}
        return msgspec.structs.replace(made, departments={"d": Department(accounts=("*",), subscriptions=subs)})

    async with running(config({"all": None})) as engine:
        await say(engine, "one", "two")
        await anyio.sleep(10)
        time.sleep(0.01)  # noqa: ASYNC251 - the wall clock must move
        await engine.reload(told({"all": None, "new": None}))
        await say(engine, "three")
        await anyio.sleep(10)
        status = engine.status().subscriptions["d/new"]
    assert Box.got["all"] == ["one", "two", "three"]
    assert Box.got["new"] == got
    assert (status.journalled, status.delivered, status.balance) == (len(got), len(got), 0)


async def test_a_dropped_subscription_that_comes_back_starts_from_now() -> None:
    async with running(config({"all": None, "some": None})) as engine:
        await say(engine, "one")
        await anyio.sleep(10)
        await engine.reload(config({"all": None}))
        await say(engine, "two")
        await engine.reload(config({"all": None, "some": None}))
        await say(engine, "three")
        await anyio.sleep(10)
    assert Box.got["some"] == ["one", "three"]


async def test_what_is_removed_may_drain_first_and_gets_nothing_new_meanwhile(clock: None) -> None:
    async with running(config({"all": None, "some": None})) as engine:
        Box.down.add("some")
        await say(engine, "one", "two")
        await anyio.sleep(1)
        change = await engine.reload(config({"all": None}), drain=10_000)
        await say(engine, "three")
        await anyio.sleep(10)
        status = engine.status().subscriptions["d/some"]
        Box.down.clear()
        await anyio.sleep(900)
        assert list(engine.status().subscriptions) == ["d/all"]
        assert engine.partition.progress("d/some") is None
    assert (change.removed, change.draining) == (("d/some",), ("d/some",))
    assert (status.draining, status.pending, status.balance) == (True, 2, 0)
    assert Box.got == {"all": ["one", "two", "three"], "some": ["one", "two"]}


async def test_draining_ends_after_its_time_and_what_is_left_stays(clock: None) -> None:
    """P4: nothing is dropped unasked."""
    async with running(config({"all": None, "some": None})) as engine:
        Box.down.add("some")
        await say(engine, "one")
        await anyio.sleep(1)
        await engine.reload(config({"all": None}), drain=60)
        await say(engine, "two")
        await anyio.sleep(55)
        assert "d/some" in engine.status().subscriptions
        await anyio.sleep(40)
        assert "d/some" not in engine.status().subscriptions
        left = engine.status().orphans["d/some"]
        assert (left.pending + left.parked, left.dead) == (1, 0)
        Box.down.clear()
        await engine.reload(config({"all": None, "some": None}))
        await anyio.sleep(1000)
        assert not engine.status().orphans
    assert sorted(Box.got["some"]) == ["one", "two"]


async def test_what_drains_and_is_in_the_config_again_goes_on_as_if_nothing_had_been(clock: None) -> None:
    async with running(config({"all": None, "some": None})) as engine:
        Box.down.add("some")
        await say(engine, "one")
        await anyio.sleep(1)
        await engine.reload(config({"all": None}), drain=60)
        await say(engine, "two")
        await engine.reload(config({"all": None, "some": None}))
        await say(engine, "three")
        Box.down.clear()
        await anyio.sleep(900)
        status = engine.status().subscriptions["d/some"]
    assert sorted(Box.got["some"]) == ["one", "three", "two"]  # "one" is in its pause when the others may go
    assert (status.draining, status.delivered, status.pending, status.balance) == (False, 3, 0, 0)


async def test_another_reload_does_not_disturb_what_drains(clock: None) -> None:
    async with running(config({"all": None, "some": None})) as engine:
        Box.down.add("some")
        await say(engine, "one")
        await anyio.sleep(1)
        await engine.reload(config({"all": None}), drain=10_000)
        await engine.reload(config({"all": None, "new": None}))
        assert set(engine.status().subscriptions) == {"d/all", "d/new", "d/some"}
        await say(engine, "two")
        Box.down.clear()
        await anyio.sleep(900)
        assert set(engine.status().subscriptions) == {"d/all", "d/new"}
    assert Box.got == {"all": ["one", "two"], "new": ["two"], "some": ["one"]}


async def test_a_restart_while_it_drains_loses_nothing_of_what_is_put_back(clock: None) -> None:
    """The journal keeps its place; the config that names it again takes it up there."""
    first = config({"all": None, "some": None})
    async with first.journal.open(Path(), restore) as partition:
        async with anyio.create_task_group() as tasks:
            engine = Engine(first, partition, tasks)
            Box.down.add("some")
            await say(engine, "one")
            await anyio.sleep(1)
            await engine.reload(config({"all": None}), drain=10_000)
            await engine.stop()
            tasks.cancel_scope.cancel()
        Box.down.clear()
        async with anyio.create_task_group() as tasks:
            Engine(first, partition, tasks)
            await anyio.sleep(100)
            tasks.cancel_scope.cancel()
    assert Box.got["some"] == ["one"]


async def test_an_event_that_waits_for_too_long_is_an_alarm_until_it_is_delivered(clock: None) -> None:
    """DESIGN 8: destination down: alarm after a set time; said once, and when it is over."""
    async with running(config({"all": None})) as engine:
        engine.turn("d/all", "paused")
        await say(engine, "one")

        async def alarms(seconds: int) -> list[bool]:
            found = []
            for _ in range(seconds):
                await anyio.sleep(1)
                await engine.note_oldest()
                found.append(engine.status().subscriptions["d/all"].alarm)
            return found

        with structlog.testing.capture_logs() as logs:
            assert set(await alarms(890)) == {False}
            assert set((await alarms(60))[-30:]) == {True}
            engine.turn("d/all", "active")
            assert (await alarms(100))[-1] is False
    said = [one["event"] for one in logs if "alarm" in one["event"]]
    assert said == ["alarm: an event waits for too long", "alarm over"]


class Ends(Source, frozen=True, kw_only=True):
    """Fails after ten seconds; works for good when it is started again."""

    tries: ClassVar[list[None]] = []

    async def run(self, emit: Emit, ready: Any, count: Count) -> None:
        self.tries.append(None)
        if len(self.tries) == 2:
            await anyio.sleep(5)
        ready()
        await anyio.sleep(10 if len(self.tries) == 1 else 10_000)
        raise OSError("gone")


async def test_it_is_not_ready_while_a_source_has_failed() -> None:
    Ends.tries.clear()
    async with running(config({"all": None}, sources={"e": Ends()})) as engine:
        await anyio.sleep(5)
        assert engine.status().ready
        await anyio.sleep(8)
        assert not engine.status().ready
        await anyio.sleep(20)
        assert engine.status().ready
