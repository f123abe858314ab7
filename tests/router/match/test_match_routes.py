"""Routes: the same answer as asking each route, at a cost that does not grow with those who say no."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import UNDECODABLE, Decoder, Event
from router.match import ALWAYS, NEVER, Condition, Route, Routes, parse, routes
from router.match.condition import All, Either, Not, Test
from router.match.operators import OneOf, Operator, Prefix

EventOf = Callable[..., Event]
NARROW = ("type", "source", "account", "region", "status")
WIDE = ("rcpt", "env_id", "extra.x")

texts = st.sampled_from(["", "a", "b", "2", "a@x", "b@x"])
tests = st.builds(
    Test,
    st.sampled_from(NARROW + WIDE),
    st.one_of(st.builds(OneOf, st.frozensets(texts, max_size=3)), st.builds(Prefix, st.sampled_from(["a", "b"]))),
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Either, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)
globs = st.sampled_from(["*", "*@x", "A@X", "a*", "nobody"])
many_routes = st.lists(st.builds(Route, st.lists(globs, min_size=1, max_size=2).map(tuple), conditions), max_size=8)
fields = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["a", "b", UNDECODABLE]),
        "source": texts,
        "account": texts,
        "region": texts,
        "status": st.sampled_from([None, 2]),
        "rcpt": texts,
        "env_id": texts,
        "extra": st.dictionaries(st.just("x"), texts),
    }
)


def _sees(route: Route, event: Event) -> bool:
    """Decide it the plain way."""
    account = getattr(event.fields, "account", None)
    return "*" in route.accounts or (account is not None and any(_covers(g, account.lower()) for g in route.accounts))


def _covers(glob: str, account: str) -> bool:
    return {
        "*@x": account.endswith("@x"),
        "A@X": account == "a@x",
        "a*": account.startswith("a"),
        "nobody": account == "nobody",
    }[glob]


@given(many=many_routes, events=st.lists(fields, min_size=1, max_size=6))
@settings(deadline=None)
def test_wanted_is_what_asking_every_route_gives(
    many: list[Route], events: list[dict[str, Any]], decoder: Decoder, event: EventOf
) -> None:
    compiled = Routes(many, decoder)
    for values in [*events, *events]:
        one = event(**values)
        expected = tuple(i for i, r in enumerate(many) if _sees(r, one) and r.condition.matches(one))
        assert compiled.wanted(one) == expected


@given(condition=conditions, values=fields, told=st.sets(st.sampled_from(NARROW + WIDE)))
@settings(deadline=None)
def test_what_is_left_after_telling_some_fields_means_the_same(
    condition: Condition, values: dict[str, Any], told: set[str], event: EventOf
) -> None:
    one = event(**values | {"kind": "a"})
    known = {name: _text(one, name) for name in told}
    left = condition.given(known)
    assert left.matches(one) == condition.matches(one)
    assert left.fields.isdisjoint(told)
    if condition.fields <= told:
        assert left in {ALWAYS, NEVER}


def _text(event: Event, name: str) -> str:
    value = event.get(name.removeprefix("extra."))
    return "" if value is None else str(value)


class Times:
    """A count that is equal to itself alone."""

    def __init__(self) -> None:
        self.count = 0


class Asked(Operator, frozen=True):
    """Counts how often it is asked."""

    times: Times
    answer: bool

    def holds(self, text: str) -> bool:
        self.times.count += 1
        return self.answer


@pytest.mark.parametrize("count", [20, 1000])
def test_cost_does_not_grow_with_the_routes_that_do_not_want_the_event(
    count: int, decoder: Decoder, event: EventOf
) -> None:
    times = Times()
    wants, wants_not = Asked(times, answer=True), Asked(times, answer=False)
    many = [
        Route(("*@x",), All((Test("region", wants if i % (count // 10) == 0 else wants_not), Test("rcpt", wants))))
        for i in range(count)
    ]
    compiled = Routes(many, decoder)
    assert len(compiled.wanted(event(account="a@x", region="r", rcpt="first"))) == 10
    times.count = 0
    for number in range(100):
        assert len(compiled.wanted(event(account="a@x", region="r", rcpt=str(number)))) == 10
    assert times.count == 100 * 10


def test_routes_that_want_an_exact_recipient_are_found_through_an_index(decoder: Decoder, event: EventOf) -> None:
    times = Times()
    asked = Test("env_id", Asked(times, answer=True))
    many = [Route(("*",), All((asked, Test("rcpt", OneOf(frozenset((f"u{i}@x", f"v{i}@x"))))))) for i in range(1000)]
    compiled = Routes(many, decoder)
    assert compiled.wanted(event(rcpt="v7@x")) == (7,)
    assert compiled.wanted(event(rcpt="nobody@x")) == ()
    assert times.count == 1


def test_departments_see_only_their_accounts(decoder: Decoder, event: EventOf) -> None:
    compiled = Routes([Route(("*@Shop.example", "bob@x"), ALWAYS), Route(("*",), ALWAYS), Route((), ALWAYS)], decoder)
    assert compiled.wanted(event(account="ANN@shop.EXAMPLE")) == (0, 1)
    assert compiled.wanted(event(account="bob@x")) == (0, 1)
    assert compiled.wanted(event(account="bob@x.evil")) == (1,)
    assert compiled.wanted(event()) == (1,)


def test_undecodable_events_are_seen_by_those_who_see_everything(decoder: Decoder, event: EventOf) -> None:
    failed = parse({"type": "Deliver:SendFailed"}, decoder)
    undecodable = parse({"type": UNDECODABLE}, decoder)
    many = [
        Route(("*",), ALWAYS),
        Route(("*",), failed),
        Route(("*",), undecodable),
        Route(("*@x",), ALWAYS),
        Route(("*",), parse({"region": {"exists": False}}, decoder)),
    ]
    assert Routes(many, decoder).wanted(event(UNDECODABLE)) == (0, 2, 4)


def test_memo_stays_bounded(decoder: Decoder, event: EventOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "MEMO_KEYS", 10)
    compiled = Routes([Route(("*@x",), Test("region", OneOf(frozenset("a"))))], decoder)
    for number in range(100):
        assert compiled.wanted(event(account=f"u{number}@x", region="a")) == (0,)
        assert len(compiled._memo) <= 10


def test_equal_outcomes_are_kept_once(decoder: Decoder, event: EventOf) -> None:
    """A thousand routes by recipient and many senders take the memory of one sender."""
    many = [Route(("*",), parse({"rcpt": f"u{i}", "account": {"suffix": "@x"}}, decoder)) for i in range(100)]
    compiled = Routes(many, decoder)
    for number in range(50):
        assert compiled.wanted(event(account=f"{number}@x", rcpt="u5")) == (5,)
    assert len(compiled._memo) == 50
    assert len({id(outcome) for outcome in compiled._memo.values()}) == 1


def test_nobody_wants_anything_without_routes(decoder: Decoder, event: EventOf) -> None:
    compiled = Routes([], decoder)
    assert compiled.wanted(event()) == ()
    assert compiled.wanted(event(UNDECODABLE)) == ()
