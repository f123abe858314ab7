"""Events are immutable in depth for code that is not known to leave them alone."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec
import orjson
import pytest
from fakes.delivery import Books, Scripted, delivery, running
from msgspec.structs import replace

from router.event import Batch, Event, Events, Message
from router.frozen import FrozenDict, FrozenList
from router.plugin import Sink, Step
from router.routed import Chunk

pytestmark = pytest.mark.anyio


class Inner(msgspec.Struct, frozen=True):
    names: list[str]


class Deep(msgspec.Struct, frozen=True):
    extra: dict[str, str]
    tags: list[str]
    tree: dict[str, list[dict[str, int]]]
    one_of: set[str]
    inner: Inner
    pair: tuple[list[int], int]
    raw: bytearray
    anything: Any


def deep() -> Event:
    fields = Deep(
        {"a": "1"}, ["x"], {"k": [{"n": 1}]}, {"s"}, Inner(["i"]), ([1], 2), bytearray(b"r"), [Inner(["j"]), {"m": []}]
    )
    time = datetime(2026, 1, 1, tzinfo=UTC)
    return Event(id="ab" * 16, type="t", time=time, source="s", fields=fields, message=Message(b"m", 1.5, {"h": "v"}))


CHANGES: list[Callable[[Any], object]] = [
    lambda e: e.fields.extra.update(a="2"),
    lambda e: e.fields.extra.__setitem__("a", "2"),
    lambda e: e.fields.extra.__delitem__("a"),
    lambda e: e.fields.extra.__ior__({"b": "2"}),
    lambda e: e.fields.extra.setdefault("b", "2"),
    lambda e: e.fields.extra.pop("a"),
    lambda e: e.fields.extra.popitem(),
    lambda e: e.fields.extra.clear(),
    lambda e: e.fields.tags.append("y"),
    lambda e: e.fields.tags.extend("y"),
    lambda e: e.fields.tags.insert(0, "y"),
    lambda e: e.fields.tags.__setitem__(0, "y"),
    lambda e: e.fields.tags.__delitem__(0),
    lambda e: e.fields.tags.__iadd__(["y"]),
    lambda e: e.fields.tags.__imul__(2),
    lambda e: e.fields.tags.remove("x"),
    lambda e: e.fields.tags.pop(),
    lambda e: e.fields.tags.sort(),
    lambda e: e.fields.tags.reverse(),
    lambda e: e.fields.tags.clear(),
    lambda e: e.fields.tree["k"].append({}),
    lambda e: e.fields.tree["k"][0].update(n=2),
    lambda e: e.fields.one_of.add("t"),
    lambda e: e.fields.inner.names.append("k"),
    lambda e: e.fields.pair[0].append(3),
    lambda e: e.fields.raw.append(1),
    lambda e: e.fields.anything[0].names.append("k"),
    lambda e: e.fields.anything[1]["m"].append("k"),
    lambda e: e.message.attributes.update(h="w"),
    lambda e: setattr(e.fields, "extra", {}),
    lambda e: setattr(e, "type", "other"),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_nothing_in_an_event_can_be_changed(number: int) -> None:
    event = deep()
    event.freeze()
    with pytest.raises((TypeError, AttributeError)):
        CHANGES[number](event)
    assert event == deep()


def test_what_is_frozen_is_equal_to_what_it_was_and_written_and_copied_as_that() -> None:
    event, plain = deep(), deep()
    event.freeze()
    event.freeze()
    assert event == plain
    assert event.json() == plain.json()
    for encode in (msgspec.json.encode, msgspec.msgpack.encode):
        assert encode(event) == encode(plain)
    extra, tags = event.fields.extra, event.fields.tags  # type: ignore[attr-defined]
    assert orjson.dumps([extra, tags]) == b'[{"a":"1"},["x"]]'
    assert json.dumps([extra, tags]) == '[{"a": "1"}, ["x"]]'
    assert pickle.loads(pickle.dumps(event)) == plain
    assert copy.deepcopy(event) == plain
    assert isinstance(extra, dict)
    assert (extra | {"b": "2"}, tags.copy()) == ({"a": "1", "b": "2"}, ["x"])
    assert type(extra.copy()) is dict
    assert type(tags[:]) is list
    assert msgspec.convert(extra, dict[str, str]) == {"a": "1"}


class Sparse(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str = ""
    extra: dict[str, str] = {}
    tags: list[str] = []
    seen: set[int] = msgspec.field(default_factory=set)
    none: frozenset[int] = frozenset()
    inner: Sparse | None = None


def test_what_is_empty_is_left_out_of_the_json_after_it_was_frozen_too() -> None:
    """Or the lines of one subscription would change when another one gets a step."""
    for fields in (Sparse("a"), Sparse("a", inner=Sparse("b")), Sparse("a", tags=["x"], inner=Sparse("b", {"c": "d"}))):
        event, same = (replace(deep(), fields=msgspec.convert(msgspec.to_builtins(fields), Sparse)) for _ in range(2))
        event.freeze()
        assert event.json() == same.json()
        assert replace(event, encoded=None).json() == same.json()


def test_a_batch_that_several_subscriptions_get_cannot_be_changed() -> None:
    events = Events([deep(), deep()])
    for change in ("clear", "pop", "reverse", "sort"):
        with pytest.raises(TypeError):
            getattr(events, change)()
    assert len(events) == 2


class Spoils(Step, frozen=True, kw_only=True):
    def apply(self, event: Event) -> Event:
        event.fields.extra["a"] = "spoilt"  # type: ignore[attr-defined]
        return event


class SpoilsLater(Sink, frozen=True, kw_only=True):
    took: list[str] = []

    async def deliver(self, batch: Batch) -> None:
        self.took.append("")
        batch[0].fields.extra["a"] = "spoilt"  # type: ignore[attr-defined]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_neither_a_step_nor_a_sink_of_one_subscription_changes_what_another_gets(anyio_backend: str) -> None:
    shared = Events([deep()])
    one, two = Books(Chunk(2, range(1, 2), shared)), Books(Chunk(2, range(1, 2), shared))
    spoiler = SpoilsLater(took=[])
    async with running(delivery(Scripted(calls=[]), one, steps=[Spoils()])), running(delivery(spoiler, two)):
        with anyio.fail_after(10):
            while not (one.letters and spoiler.took):
                await anyio.sleep(0.01)
    assert "Spoils: TypeError: an event belongs to all subscriptions" in one.letters[0].reason
    assert two.progress.delivered == 0
    assert (shared[0].fields, shared[0].json()) == (deep().fields, deep().json())


def test_dicts_and_lists_made_by_others_stay_what_they_are() -> None:
    assert repr((FrozenDict(a=1), FrozenList([1]))) == "({'a': 1}, [1])"
