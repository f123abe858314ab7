"""Whatever a decoder raises or returns costs that event, and no other: it is `Undecodable`, and the plugin is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import anyio
import msgspec
import pytest
from anyio import to_thread
from msgspec.structs import replace
from servers.daemon import Daemon, running
from servers.fronts import wait, wait_gone, wait_ready
from servers.hostile import TRICKS, Hostile, Word

from router import Decoder, Event, Message
from router.errors import ConfigError
from router.event import UNDECODABLE
from router.fronts.wire import Wire, pack
from router.intake import decoded, event_of
from router.journal.sqlite import SqliteJournal
from router.match import Route, Routes, parse
from router.proof import check_decoder

pytestmark = pytest.mark.anyio

DROP_INS = f"plugins: [{Path(__file__).parents[1] / 'servers'}]\ndecoder: {{type: hostile}}"
DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
      region: {match: {region: a, account: {prefix: x}}, to: {type: file, path: "{out}/region.jsonl"}}
  b:
    accounts: ["good@x"]
    subscriptions:
      good: {to: {type: file, path: "{out}/good.jsonl"}}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("trick", TRICKS, ids=bytes.decode)
def test_only_that_event_is_undecodable_and_it_names_the_plugin(trick: bytes) -> None:
    messages = [Message(body, 1.0) for body in (b"good: 1", trick + b": 2", b"good: 3")]
    events, unknown = decoded(Hostile(), "push", messages)
    assert [event.type for event in events] == ["word", UNDECODABLE, "word"]
    assert unknown == 1
    reason = json.loads(events[1].json())["reason"]
    assert "\n" not in reason
    assert len(reason) < 600
    if trick != b"reasonless":  # an Undecodable of its own
        assert f"the decoder Hostile of {Hostile.__module__}" in reason
    assert [bytes(event.raw) for event in events] == [bytes(message.body) for message in messages]


@pytest.mark.parametrize("trick", TRICKS, ids=bytes.decode)
def test_read_back_it_is_the_same_under_the_id_that_it_had(trick: bytes) -> None:
    message = Message(trick + b": 2", 1.0)
    before = decoded(Hostile(), "push", [message])[0][0]
    assert event_of(Hostile(), message, "push", before.id) == before
    well = event_of(Hostile(tricks=False), message, "push", before.id)
    assert (well.type, well.id) == ("word", before.id)


@pytest.mark.parametrize("trick", TRICKS, ids=bytes.decode)
def test_what_was_good_when_it_was_journalled_may_fail_when_it_is_read_back(trick: bytes) -> None:
    """As after a change of the decoder: the event keeps its id, and its neighbours are as they were."""
    message = Message(trick + b": 2", 1.0)
    before = decoded(Hostile(tricks=False), "push", [message])[0][0]
    after = event_of(Hostile(), message, "push", before.id)
    assert (before.type, after.type, after.id) == ("word", UNDECODABLE, before.id)


def test_a_decoder_that_restores_another_id_is_not_believed() -> None:
    class Renamer(Hostile, frozen=True, kw_only=True):
        def restore(self, message: Message, source: str, name: str) -> Event:
            return self.decode(message, source)

    event = event_of(Renamer(), Message(b"good: 1", 1.0), "push", "ab" * 16)
    assert (event.type, event.id) == (UNDECODABLE, "ab" * 16)
    assert "another id" in event.get("reason")


def test_json_that_a_decoder_remembers_is_not_what_goes_out() -> None:
    class Remembering(Hostile, frozen=True, kw_only=True):
        def decode(self, message: Message, source: str) -> Event:
            return replace(super().decode(message, source), encoded=b'{"forged": 1}\n')

    [event], unknown = decoded(Remembering(), "push", [Message(b"good: 1", 1.0)])
    assert unknown == 0
    assert json.loads(event.json())["account"] == "good@x"


def test_a_front_says_what_the_daemon_understands() -> None:
    messages = [Message(word + b": 1", 1.0) for word in (b"good", *TRICKS, b"good")]
    events, _ = decoded(Hostile(), "push", messages)
    wire = Wire(Hostile(), "push")
    batch: Any = wire.read(pack(1, events))
    arrived = wire.events_of(batch)
    assert [(e.id, e.type, e.fields, e.json()) for e in arrived] == [(e.id, e.type, e.fields, e.json()) for e in events]


async def test_a_journal_with_good_events_is_read_by_a_decoder_that_fails_on_some(tmp_path: Path) -> None:
    messages = [Message(word + b": 1", 1.0) for word in (b"good", *TRICKS, b"better")]
    async with SqliteJournal().open(tmp_path, partial(event_of, Hostile(tricks=False))) as partition:
        await partition.append(decoded(Hostile(tricks=False), "push", messages)[0])
    async with SqliteJournal().open(tmp_path, partial(event_of, Hostile())) as partition:
        events = (await partition.read(1, 100)).events
    assert [event.type for event in events] == ["word", *[UNDECODABLE] * len(TRICKS), "word"]


@pytest.mark.parametrize("workers", [0, 1])
async def test_neighbours_of_hostile_events_arrive_and_a_restart_works(tmp_path: Path, workers: int) -> None:
    good = [b"good: %d" % number for number in range(40)]
    bodies = [body for pair in zip(good, [*(trick + b": 1" for trick in TRICKS), *good], strict=False) for body in pair]
    with running(tmp_path, DEPARTMENTS, top=DROP_INS, push=f"workers: {workers}") as daemon:
        pids = await to_thread.run_sync(_wait_ready, daemon)
        async with aiohttp.ClientSession() as session, anyio.create_task_group() as tasks:
            for start in range(0, len(bodies), 8):
                tasks.start_soon(_post_all, session, daemon.url, bodies[start : start + 8])
        await to_thread.run_sync(daemon.wait_settled)
        daemon.kill()
        await to_thread.run_sync(wait_gone, pids)
        await to_thread.run_sync(daemon.start)
        await to_thread.run_sync(_wait_ready, daemon)
        async with aiohttp.ClientSession() as session:
            await _post_all(session, daemon.url, [b"list in key: again", b"good: again"])
        await to_thread.run_sync(daemon.wait_settled)
        arrived, own = daemon.lines("all.jsonl"), daemon.lines("good.jsonl")
        assert daemon.verify()["ok"]
        assert daemon.status()["sources"]["push"]["undecodable"] >= 1
        assert await to_thread.run_sync(daemon.stop) == 0
    assert sorted(line["id"] for line in own) == sorted({line["id"] for line in own})
    assert len(own) == len(good) + 1
    odd = [line for line in arrived if line["type"] == UNDECODABLE]
    assert len(odd) == len(TRICKS) + 1
    assert len({line["id"] for line in arrived}) == len(arrived) == len(own) + len(odd)
    assert "Traceback" not in (tmp_path / "router.log").read_text()


def _wait_ready(daemon: Daemon) -> list[int]:
    """Wait for the fronts; their address is listened at before the admin's."""

    def answers() -> bool:
        try:
            daemon.status()
        except OSError:
            return False
        return True

    wait(answers, "the admin API does not answer")
    return wait_ready(daemon)


async def _post_all(session: aiohttp.ClientSession, url: str, bodies: list[bytes]) -> None:
    for body in bodies:
        async with session.post(url, data=body) as response:
            assert response.status == 204


# What cannot be a decoder


class _Nested(msgspec.Struct, frozen=True):
    a: str


def _decoder(
    region: Any = str, *, narrow: Any = frozenset({"region"}), account: Any = "account", **more: Any
) -> Decoder:
    made = msgspec.defstruct("Fields", [("account", str), ("region", region), *more.pop("fields", ())])
    given = {"fields": made, "narrow": narrow, "account": account} | more
    return type("Odd", (Hostile,), given | {"__module__": __name__}, frozen=True, kw_only=True)()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("decoder", "problem"),
    [
        (partial(_decoder, list[str]), "`region` that cannot be in a routing key"),
        (partial(_decoder, dict[str, str]), "`region` that cannot be in a routing key"),
        (partial(_decoder, set[str]), "`region` that cannot be in a routing key"),
        (partial(_decoder, str | list[str] | None), "`region` that cannot be in a routing key"),
        (partial(_decoder, _Nested), "`region` that cannot be in a routing key"),
        (
            partial(_decoder, account="more", fields=[("more", dict[str, str])]),
            "`more` that cannot be in a routing key",
        ),
        (partial(_decoder, narrow=frozenset({"nowhere"})), "no field `nowhere`"),
        (partial(_decoder, narrow="region"), "a `narrow` that is no set"),
        (partial(_decoder, account="nobody"), "no field `nobody`"),
        (partial(_decoder, account=None), "no field `None`"),
        (partial(_decoder, fields=[("id", str)]), "the field `id`"),
        (partial(_decoder, types={"a": 1}), "`types` that are no mapping"),
        (partial(_decoder, fields=[("more", dict[str, set[str]] | list[str] | set[int])]), "msgspec cannot carry"),
    ],
)
def test_a_decoder_whose_events_nobody_could_route_is_refused(decoder: Callable[[], Decoder], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        check_decoder(decoder())
    assert "the decoder Odd of" in str(caught.value)


@pytest.mark.parametrize("region", [str, int | None, float, bool, Any])
def test_single_values_may_be_routing_keys(region: Any) -> None:
    check_decoder(_decoder(region))
    check_decoder(_decoder(region, narrow=frozenset({"region", "type", "source"})))


def test_a_config_with_such_a_decoder_is_refused_where_it_stands(tmp_path: Path) -> None:
    code = (Path(__file__).parents[1] / "servers" / "hostile.py").read_text()
    (tmp_path / "listed.py").write_text(code.replace('region: str = ""', "region: list[str] = []"))
    with pytest.raises(AssertionError, match=r"decoder: the decoder Hostile of \S+ has a field `region`"):  # noqa: SIM117
        with running(tmp_path, DEPARTMENTS, top=f"plugins: [{tmp_path}]\ndecoder: {{type: listed}}"):
            pass


# The last line of defence


class Vouching(Hostile, frozen=True, kw_only=True):
    """Says that nobody needs to look."""

    vouches: ClassVar[bool] = True


@pytest.mark.parametrize("values", [{"region": ["a"]}, {"region": {"a": 1}}, {"region": object()}, {"account": ["a"]}])
def test_matching_never_raises_and_what_it_fails_on_goes_where_the_undecodable_go(values: dict[str, Any]) -> None:
    decoder = Vouching()
    [good], _ = decoded(decoder, "push", [Message(b"good: 1", 1.0)])
    bad = replace(good, fields=Word(**({"account": "good@x"} | values)))
    patterns: list[Any] = [{}, {"region": "a"}, {"account": "good@x", "region": {"prefix": "a"}}]
    routes = [Route(("*",), parse(pattern, decoder)) for pattern in patterns]
    table = Routes([*routes, Route(("good@x",), parse({}, decoder))], decoder)
    assert table.wanted(bad) == (0,)
    assert table.wanted(good) == (0, 3)
