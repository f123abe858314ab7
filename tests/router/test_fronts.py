"""What a front and the engine say to each other, over a real socket in one process; and the crew, with real ones."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import msgspec
import pytest

from router.errors import Retry, RouterError, Undecodable
from router.event import Event, Message
from router.fronts import crew as crews
from router.fronts import exchange as exchanges
from router.fronts import front as fronts
from router.fronts import pulse
from router.fronts.crew import Crew
from router.fronts.exchange import Exchange
from router.fronts.front import Front
from router.fronts.link import Link
from router.fronts.wire import VERSION, Hello, Wire
from router.intake import decoded
from router.listeners import SPREADS, Listener
from router.plugin import Count, Decoder, Emit, Source

pytestmark = pytest.mark.anyio

EAST = timezone(timedelta(hours=8))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    account: str
    word: str
    at: datetime = datetime(2026, 1, 1, tzinfo=EAST)
    extra: dict[str, str] = {}


class Words(Decoder, frozen=True, kw_only=True):
    """`account word`; anything else is undecodable."""

    fields: ClassVar[type[msgspec.Struct]] = Word
    account: ClassVar[str] = "account"

    def decode(self, message: Message, source: str) -> Event:
        account, blank, word = bytes(message.body).decode().partition(" ")
        if not blank:
            raise Undecodable("no blank")
        fields = Word(account, word, extra={"shout": word.upper()})
        time = datetime(2026, 3, 1, 9, tzinfo=EAST)
        return Event(f"{hash(word) % 2**64:032x}", "word", time, source, fields, message)


class Script(Source, frozen=True, kw_only=True):
    """Does what it was given to do with the emit."""

    parallel: ClassVar[bool] = True
    act: ClassVar[Callable[[Emit, Count], Any]]

    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        ready()
        await type(self).act(emit, count)


class Stored:
    """A store that can be held up, and made to refuse."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.unknown = 0
        self.calls = 0
        self.open = anyio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def __call__(self, events: Sequence[Event], unknown: int) -> None:
        await self.open.wait()
        self.calls += 1
        if self.error:
            raise self.error
        self.events += events
        self.unknown += unknown


@asynccontextmanager
async def working(stored: Stored, act: Callable[[Emit, Count], Any]) -> AsyncGenerator[tuple[Front, Counter[str]]]:
    """Run a front on one end of a socket and its exchange on the other."""
    Script.act = act
    ours, theirs = socket.socketpair()
    counts: Counter[str] = Counter()
    with ours, theirs:
        front = Front(Link(theirs), "push", Script(), Words())
        exchange = Exchange(Link(ours), Wire(Words(), "push"), stored, lambda: None, counts)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run)
            tasks.start_soon(front.run, ())
            yield front, counts
            tasks.cancel_scope.cancel()


def messages(*texts: str) -> list[Message]:
    return [Message(text.encode(), 5.25, {"message_id": text}) for text in texts]


async def once(act: Callable[[Emit], Any], stored: Stored) -> Any:
    """Let a source do one thing with its emit, and return what came of it: a value or an error."""
    done = anyio.Event()
    came: list[Any] = []

    async def script(emit: Emit, count: Count) -> None:
        try:
            came.append(await act(emit))
        except RouterError as error:
            came.append(error)
        done.set()
        await anyio.sleep_forever()

    async with working(stored, script):
        with anyio.fail_after(10):
            await done.wait()
    return came[0]


async def test_the_engine_gets_the_events_that_the_decoder_made_in_their_order() -> None:
    """Also what could not be decoded, in its place; ids, zones, JSON and bytes are the same as without a front."""
    sent = messages("a@x one", "junk", "a@x two", "b@y drei ü", "rubbish")
    stored = Stored()
    await once(lambda emit: emit(sent), stored)
    expected, unknown = decoded(Words(), "push", sent)
    assert [e.json() for e in stored.events] == [e.json() for e in expected]
    assert stored.unknown == unknown == 2
    for got, want in zip(stored.events, expected, strict=True):
        assert (got.id, got.type, got.time, got.source) == (want.id, want.type, want.time, want.source)
        assert got.time.utcoffset() == want.time.utcoffset()
        assert (bytes(got.raw), got.received, dict(got.message.attributes)) == (want.raw, 5.25, want.message.attributes)
        assert got.fields == want.fields
        assert got.get("shout") == want.get("shout")


async def test_emit_returns_only_when_the_engine_has_stored_it() -> None:
    stored = Stored()
    stored.open = anyio.Event()
    returned = anyio.Event()

    async def script(emit: Emit, count: Count) -> None:
        await emit(messages("a@x one"))
        assert stored.events
        returned.set()
        await anyio.sleep_forever()

    async with working(stored, script):
        await anyio.sleep(0.1)
        assert not returned.is_set()
        stored.open.set()
        with anyio.fail_after(10):
            await returned.wait()


async def test_what_the_engine_cannot_store_is_a_retry_with_its_wait() -> None:
    stored = Stored()
    stored.error = Retry("the journal is full", 5.0)
    error = await once(lambda emit: emit(messages("a@x one")), stored)
    assert isinstance(error, Retry)
    assert (error.reason, error.after) == ("the journal is full", 5.0)


async def test_a_large_batch_goes_in_parts_and_is_answered_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "PART", 100)
    monkeypatch.setattr(exchanges, "WAITING", 0)
    sent = messages(*[f"a@x {number:030d}" for number in range(20)])
    stored = Stored()
    await once(lambda emit: emit(sent), stored)
    assert [bytes(e.raw) for e in stored.events] == [m.body for m in sent]
    assert stored.calls > 5


async def test_a_part_that_is_not_stored_makes_the_whole_batch_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "PART", 100)
    monkeypatch.setattr(exchanges, "WAITING", 0)
    stored = Stored()

    class Third(Stored):
        async def __call__(self, events: Sequence[Event], unknown: int) -> None:
            self.error = Retry("not this one") if self.calls == 2 else None
            await super().__call__(events, unknown)

    stored = Third()
    error = await once(lambda emit: emit(messages(*[f"a@x {number:030d}" for number in range(20)])), stored)
    assert isinstance(error, Retry)
    assert stored.events


async def test_a_front_is_not_read_from_while_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has sent is bounded, and its own emits wait: so its source slows its clients down."""
    monkeypatch.setattr(exchanges, "WAITING", 200_000)
    stored = Stored()
    stored.open = anyio.Event()
    begun = finished = 0

    async def script(emit: Emit, count: Count) -> None:
        async def one(number: int) -> None:
            nonlocal begun, finished
            begun += 1
            await emit(messages(f"a@x {number:05d}" + "x" * 50_000))
            finished += 1

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(one, number)
        await anyio.sleep_forever()

    async with working(stored, script) as (front, _):
        await anyio.sleep(0.3)
        sent = front._number
        assert begun == 200
        assert finished == 0
        assert sent < 50, "each is 200 KB and more with its fields and JSON; the sockets hold the rest"
        stored.open.set()
        with anyio.fail_after(10):
            while finished < 200:
                await anyio.sleep(0.01)


async def test_what_a_source_counts_in_a_front_is_counted_in_the_engine() -> None:
    counted = anyio.Event()

    async def script(emit: Emit, count: Count) -> None:
        for _ in range(3):
            count("bad_signature")
        count("stale")
        counted.set()
        await anyio.sleep_forever()

    async with working(Stored(), script) as (_, counts):
        with anyio.fail_after(10):
            while not counts:
                await anyio.sleep(0.01)
        assert counts == {"bad_signature": 3, "stale": 1}


async def test_a_stopped_front_answers_what_it_has_in_hand_and_tells_the_last_counts() -> None:
    stored = Stored()
    stored.open = anyio.Event()
    emitted = anyio.Event()
    outcome: list[str] = []

    async def script(emit: Emit, count: Count) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                emitted.set()
                await emit(messages("a@x last"))
                count("late")
                outcome.append("answered")

    async with working(stored, script) as (front, counts):
        await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.05)
        front.stop()
        with anyio.fail_after(10):
            await emitted.wait()
            await anyio.sleep(0.05)
            assert not outcome
            stored.open.set()
            while not counts:
                await anyio.sleep(0.01)
    assert outcome == ["answered"]
    assert counts == {"late": 1}
    assert front.error == ""


async def test_a_front_says_at_once_when_the_engine_is_gone_even_if_its_source_does_not_end() -> None:
    async def script(emit: Emit, count: Count) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.5)

    Script.act = script
    ours, theirs = socket.socketpair()
    gone = anyio.Event()
    with ours, theirs:
        front = Front(Link(theirs), "push", Script(), Words(), gone=gone.set)
        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                with pytest.raises(BaseExceptionGroup, match="TaskGroup"):
                    await front.run(())

            tasks.start_soon(run)
            await anyio.sleep(0.05)
            ours.close()
            with anyio.fail_after(0.3):
                await gone.wait()


PRELUDE = """
import os, socket, sys, time
from router.fronts.wire import Alive, Ready, say
link = socket.socket(fileno=0)
def frame(data): link.sendall(len(data).to_bytes(4, "big") + data)
with open(sys.argv[1], "a") as log: print(time.monotonic(), file=log)
"""


def crew_of(script: str, log: Path, *, size: int = 1) -> Crew:
    hello = Hello(VERSION, "push", 0, (), (), pickle.dumps(None))
    return Crew(hello, Wire(Words(), "push"), size, (sys.executable, "-c", PRELUDE + script, str(log)), None)


async def test_a_front_that_ends_before_it_is_ready_fails_the_start(tmp_path: Path) -> None:
    crew = crew_of("sys.exit(3)", tmp_path / "log")
    with anyio.fail_after(20), pytest.raises(RouterError, match="front 1: it ended with exit code 3"):
        await crew.run(Stored(), lambda: None, Counter())


async def test_a_front_that_is_of_another_version_fails_the_start_with_what_it_said(tmp_path: Path) -> None:
    crew = crew_of("frame(b'\\x93\\xa5other\\x01\\x02'); link.recv(100000)", tmp_path / "log")
    with anyio.fail_after(20), pytest.raises(RouterError, match="it does not say what a front says"):
        await crew.run(Stored(), lambda: None, Counter())


async def test_a_front_that_dies_again_and_again_is_replaced_after_pauses_that_grow(tmp_path: Path) -> None:
    log = tmp_path / "log"
    crew = crew_of("frame(say(Ready())); os.kill(os.getpid(), 9)", log)
    counts: Counter[str] = Counter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(crew.run, Stored(), lambda: None, counts)
        with anyio.fail_after(20):
            while counts["front_died"] < 4:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert "killed by SIGKILL" in crew.last_error
    assert crew.members[0].deaths >= 4
    starts = [float(line) for line in log.read_text().split()]
    gaps = [later - sooner for sooner, later in pairwise(starts)]
    assert [gap >= crews.PAUSE_MIN * 2**i for i, gap in enumerate(gaps)] == [True] * len(gaps)


async def test_the_error_of_a_front_that_died_has_a_time_and_goes_when_all_have_worked_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crews, "SETTLED", 0.3)
    marker = tmp_path / "died"
    crew = crew_of(
        f"frame(say(Ready())); marker = {str(marker)!r}\n"
        "if not os.path.exists(marker): open(marker, 'w'); os.kill(os.getpid(), 9)\n"
        "while True: time.sleep(0.05); frame(say(Alive()))",
        tmp_path / "log",
    )
    before = time.time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(crew.run, Stored(), lambda: None, Counter())
        with anyio.fail_after(20):
            while crew.error is None:
                await anyio.sleep(0.01)
            assert "killed by SIGKILL" in crew.error.text
            assert before <= crew.error.at <= time.time()
            while crew.error:
                await anyio.sleep(0.01)
        assert crew.members[0].ready
        assert crew.members[0].deaths == 1
        tasks.cancel_scope.cancel()


async def test_a_front_that_says_nothing_for_long_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that says nothing from the start; one that speaks now and then is not."""
    monkeypatch.setattr(pulse, "SILENCE", 0.6)
    monkeypatch.setattr(exchanges, "BEAT", 0.1)
    monkeypatch.setattr(pulse, "BEAT", 0.1)
    monkeypatch.setattr(crews, "LINGER", 0.1)
    beats = "frame(say(Ready()))\nwhile True: time.sleep(0.05); frame(say(Alive()))"
    for script, hangs in (("frame(say(Ready())); time.sleep(60)", True), (beats, False)):
        crew = crew_of(script, tmp_path / "log")
        counts: Counter[str] = Counter()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crew.run, Stored(), lambda: None, counts)
            with anyio.move_on_after(20 if hangs else 2):
                while not counts["front_died"]:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        assert bool(counts["front_died"]) is hangs
        assert ("it hangs: it said nothing for 0.6 s" in crew.last_error) is hangs


async def test_a_front_that_is_not_read_from_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the journal takes for what waits."""
    monkeypatch.setattr(pulse, "SILENCE", 0.2)
    monkeypatch.setattr(exchanges, "BEAT", 0.05)
    monkeypatch.setattr(exchanges, "WAITING", 10)
    stored = Stored()
    stored.open = anyio.Event()

    async def act(emit: Emit) -> str:
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(emit, messages(f"a@x {number}"))
            await anyio.sleep(1)
            stored.open.set()
        return "all safe"

    assert await once(act, stored) == "all safe"
    assert len(stored.events) == 5


def test_a_daemon_that_was_held_up_does_not_blame_its_fronts() -> None:
    """As on a machine that swaps, or was asleep: each of its own turns counts for a beat, however late it comes."""
    beats = int(pulse.SILENCE / pulse.BEAT)
    one = pulse.Pulse()
    assert not any(one.missed(3600) for _ in range(beats - 1))
    one.beat()
    assert [one.missed(pulse.BEAT) for _ in range(beats)] == [False] * (beats - 1) + [True]


async def test_a_front_that_does_not_end_when_told_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "GRACE", 0.2)
    crew = crew_of("frame(say(Ready())); time.sleep(60)", tmp_path / "log")
    ready = anyio.Event()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(crew.run, Stored(), ready.set, Counter())
            await ready.wait()
            pid = crew.members[0].pid
            tasks.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_port_that_somebody_else_listens_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that one shares its port (SO_REUSEPORT): else two routers would take half of each other's pushes."""
    monkeypatch.setattr("router.listeners.PATIENCE", 0.1)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        listener = Listener(f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(RouterError, match=r"cannot listen at 127\.0\.0\.1:\d+: Address already in use"):
            listener.sockets(1, 1)


@pytest.mark.skipif(not SPREADS, reason="only Linux spreads connections")
def test_connections_are_spread_over_fronts_and_those_that_do_not_run_get_none() -> None:
    listener = Listener("127.0.0.1:0")
    try:
        sockets = [listener.sockets(number, 3)[0] for number in (1, 2, 3)]
        address = sockets[0].getsockname()
        assert {one.getsockname() for one in sockets} == {address}
        assert listener.sockets(1, 3) == [sockets[0]]
        clients = [socket.create_connection(address) for _ in range(60)]
        accepted = [accept_all(one) for one in sockets]
        assert sum(map(len, accepted)) == 60
        assert all(accepted)
        listener.drop(2)
        clients += [socket.create_connection(address) for _ in range(20)]
        accepted += [accept_all(one) for one in (sockets[0], sockets[2])]
        assert sum(map(len, accepted)) == 80
        for one in (*clients, *[each for some in accepted for each in some]):
            one.close()
    finally:
        listener.close()


@pytest.mark.skipif(not SPREADS, reason="only Linux spreads connections")
def test_where_there_are_fewer_fronts_they_accept_what_waits_for_those_that_are_gone() -> None:
    """Closing a socket resets what waits there, or is about to; so none is, and each front has what is left over."""
    listener = Listener("127.0.0.1:0")
    try:
        one, two, three, four = [listener.sockets(number, 4)[0] for number in (1, 2, 3, 4)]
        clients = [socket.create_connection(one.getsockname()) for _ in range(40)]
        assert listener.sockets(1, 2) == [one, three, four]
        assert listener.sockets(2, 2) == [two, three, four]
        accepted = [accept_all(each) for each in {*listener.sockets(1, 2), *listener.sockets(2, 2)}]
        assert sum(map(len, accepted)) == 40
        assert listener.sockets(3, 3) == [three, four]
        listener.drop(1)
        listener.drop(2)
        address = three.getsockname()
        clients.append(socket.create_connection(address))
        listener.drop(3)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        for each in (*clients, *[each for some in accepted for each in some]):
            each.close()
    finally:
        listener.close()


def accept_all(listening: socket.socket) -> list[socket.socket]:
    listening.setblocking(False)
    accepted: list[socket.socket] = []
    while True:
        try:
            accepted.append(listening.accept()[0])
        except BlockingIOError:
            return accepted
