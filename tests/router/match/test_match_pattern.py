"""What a pattern means, and what is said about one that means nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from router import Decoder, Event
from router.match import ALWAYS, BadPattern, Mistake, parse

EventOf = Callable[..., Event]


@pytest.mark.parametrize(
    ("pattern", "fields"),
    [
        ({}, {}),
        ({"region": "cn-hangzhou"}, {"region": "cn-hangzhou"}),
        ({"status": 2}, {"status": 2}),
        ({"status": "2"}, {"status": 2}),
        ({"dedicated": True}, {"dedicated": True}),
        ({"dedicated": "false"}, {"dedicated": False}),
        ({"from": "a@b"}, {"from_": "a@b"}),
        ({"region": ["a", "b"], "status": [2, 4]}, {"region": "b", "status": 4}),
        ({"rcpt": {"prefix": "ann"}}, {"rcpt": "ann@x"}),
        ({"rcpt": {"suffix": "@x"}}, {"rcpt": "ann@x"}),
        ({"rcpt": {"glob": "*@[xy].example"}}, {"rcpt": "ann@y.example"}),
        ({"rcpt": {"not": {"suffix": "@y"}}}, {"rcpt": "ann@x"}),
        ({"rcpt": {"not": ["a", "b"]}}, {"rcpt": "c"}),
        ({"rcpt": [{"suffix": "@x"}, "bob@y"]}, {"rcpt": "bob@y"}),
        ({"rcpt": [{"suffix": "@x"}, "bob@y"]}, {"rcpt": "ann@x"}),
        ({"rcpt": {"exists": True}}, {"rcpt": "x"}),
        ({"rcpt": {"exists": False}}, {}),
        ({"rcpt": {"exists": "false"}}, {}),
        ({"status": {"exists": False}}, {"status": None}),
        ({"rcpt": {"not": "x"}}, {}),
        ({"rcpt": ""}, {}),
        ({"env_id": {"range": [10, 20]}}, {"env_id": "10"}),
        ({"env_id": {"range": [10, None]}}, {"env_id": "9007199254740993"}),
        ({"env_id": {"range": ["9007199254740993", "9007199254740993"]}}, {"env_id": "9007199254740993"}),
        ({"env_id": {"range": [None, -1.5]}}, {"env_id": "-1.5"}),
        ({"env_id": {"range": ["b", "d"]}}, {"env_id": "cat"}),
        ({"time": {"range": ["2026-01-07", "2026-01-08"]}}, {}),
        ({"received": {"prefix": "2026-01-07T12"}}, {}),
        ({"client_ip": {"cidr": "10.0.0.0/8"}}, {"client_ip": "10.1.2.3"}),
        ({"client_ip": {"cidr": "10.0.0.0/8"}}, {"client_ip": "::ffff:10.1.2.3"}),
        ({"client_ip": {"cidr": ["10.0.0.0/8", "2001:db8::/32"]}}, {"client_ip": "2001:db8::1"}),
        ({"type": "dm:Deliver:Fail"}, {}),
        ({"type": {"glob": "Deliver:*"}}, {}),
        ({"source": "push", "id": "0" * 32}, {}),
        ({"extra.tag": "x"}, {"extra": {"tag": "x"}}),
        ({"any": [{"region": "a"}, {"status": 2}]}, {"status": 2}),
        ({"all": [{"region": "a"}, {"status": 2}]}, {"region": "a", "status": 2}),
        ({"not": {"region": "a", "status": 2}}, {"region": "a", "status": 3}),
    ],
)
def test_matches(pattern: Any, fields: dict[str, Any], decoder: Decoder, event: EventOf) -> None:
    assert parse(pattern, decoder).matches(event(**fields))


@pytest.mark.parametrize(
    ("pattern", "fields"),
    [
        ({"region": "cn"}, {"region": "cn-hangzhou"}),
        ({"region": "CN"}, {"region": "cn"}),
        ({"region": "a", "status": 2}, {"region": "a", "status": 3}),
        ({"rcpt": {"glob": "ann@*"}}, {"rcpt": "ANN@x"}),
        ({"rcpt": {"glob": "ann"}}, {"rcpt": "ann@x"}),
        ({"rcpt": {"glob": "*"}}, {}),
        ({"rcpt": {"range": ["", "z"]}}, {}),
        ({"rcpt": "x"}, {}),
        ({"rcpt": {"exists": True}}, {"rcpt": ""}),
        ({"env_id": {"range": [10, 20]}}, {"env_id": "15 apples"}),
        ({"env_id": {"range": [10, 20]}}, {"env_id": "nan"}),
        ({"env_id": {"range": [10, 20]}}, {"env_id": "1_5"}),
        ({"env_id": {"range": [10, 20]}}, {"env_id": "\u0661\u0665"}),
        ({"env_id": {"range": [0, None]}}, {"env_id": "9" * 5000}),
        ({"client_ip": {"cidr": "10.0.0.0/8"}}, {"client_ip": "10.1.2.3:25"}),
        ({"client_ip": {"cidr": "10.0.0.0/8"}}, {"client_ip": "::1"}),
        ({"extra.region": "a"}, {"region": "a"}),
        ({"type": "Deliver:SendSuccessfully"}, {}),
        ({"type": "Undecodable"}, {}),
        ({"not": {}}, {}),
    ],
)
def test_does_not_match(pattern: Any, fields: dict[str, Any], decoder: Decoder, event: EventOf) -> None:
    assert not parse(pattern, decoder).matches(event(**fields))


@pytest.mark.parametrize(
    ("pattern", "path", "problem", "hint"),
    [
        ("x", (), "a match is a mapping of fields to values", "such as `{region: cn-hangzhou}`"),
        ({"regoin": 1}, ("regoin",), "unknown field", "did you mean `region`?"),
        ({"extra.": 1}, ("extra.",), "unknown field", None),
        ({"extra": 1}, ("extra",), "unknown field", None),
        ({"type": "Deliver:Fial"}, ("type",), "unknown event type `Deliver:Fial`", "did you mean `dm:Deliver:Fail`?"),
        ({"type": ["x" * 99]}, ("type", 0), "unknown event type", "known: Deliver:SendFailed, "),
        ({"type": {"not": "Oops"}}, ("type", "not"), "unknown event type", None),
        ({"rcpt": {"sufix": "x"}}, ("rcpt", "sufix"), "unknown operator", "did you mean `suffix`?"),
        ({"rcpt": {"prefix": "a", "suffix": "b"}}, ("rcpt",), "one operator is wanted here, not 2", None),
        ({"rcpt": {}}, ("rcpt",), "one operator is wanted here, not 0", "one of prefix"),
        ({"rcpt": []}, ("rcpt",), "an empty list matches nothing", None),
        ({"rcpt": [["a"]]}, ("rcpt", 0), "expected one value, found a list", None),
        ({"rcpt": None}, ("rcpt",), "expected one value, found nothing", "for an absent field write `{exists: false}`"),
        ({"rcpt": {"prefix": ["a"]}}, ("rcpt", "prefix"), "expected one value, found a list", None),
        ({"rcpt": {"glob": ""}}, ("rcpt", "glob"), "the empty text is no use here", None),
        ({"rcpt": {"exists": "yes"}}, ("rcpt", "exists"), "`exists` takes true or false", None),
        ({"rcpt": {"exists": 1}}, ("rcpt", "exists"), "`exists` takes true or false", None),
        ({"rcpt": {"range": 5}}, ("rcpt", "range"), "`range` takes two ends", None),
        ({"rcpt": {"range": [1, 2, 3]}}, ("rcpt", "range"), "`range` takes two ends", None),
        ({"rcpt": {"range": [None, None]}}, ("rcpt", "range"), "`range` takes two ends", "leave one end open"),
        ({"rcpt": {"range": [10, 9]}}, ("rcpt", "range"), "nothing lies between `10` and `9`", None),
        ({"rcpt": {"range": [{}, 9]}}, ("rcpt", "range", 0), "expected one value, found a mapping", None),
        (
            {"rcpt": {"cidr": "10.0.0.1/8"}},
            ("rcpt", "cidr"),
            "`10.0.0.1/8` is no network",
            "did you mean `10.0.0.0/8`?",
        ),
        ({"rcpt": {"cidr": ["10.0.0.0/8", "x"]}}, ("rcpt", "cidr", 1), "`x` is no network", "such as `10.0.0.0/8`"),
        ({"rcpt": {"cidr": []}}, ("rcpt", "cidr"), "an empty list matches nothing", None),
        ({"any": {"region": "a"}}, ("any",), "`any` takes a list of patterns", None),
        ({"all": []}, ("all",), "`all` takes a list of patterns", None),
        ({"all": [{}, {"regoin": 1}]}, ("all", 1, "regoin"), "unknown field", None),
        ({"not": [{}]}, ("not",), "a match is a mapping of fields to values", None),
    ],
)
def test_mistake_is_told_with_its_place_and_the_likely_fix(
    pattern: Any, path: tuple[Any, ...], problem: str, hint: str | None, decoder: Decoder
) -> None:
    with pytest.raises(BadPattern) as raised:
        parse(pattern, decoder)
    [mistake] = raised.value.mistakes
    assert mistake.path == path
    assert problem in mistake.problem
    assert (hint or "") in mistake.hint


def test_all_mistakes_are_told_at_once(decoder: Decoder) -> None:
    with pytest.raises(BadPattern) as raised:
        parse({"regoin": 1, "any": [{"type": "x"}, {"rcpt": {"glob": ""}}]}, decoder, ("match",))
    assert [m.path for m in raised.value.mistakes] == [
        ("match", "regoin"),
        ("match", "any", 0, "type"),
        ("match", "any", 1, "rcpt", "glob"),
    ]
    assert isinstance(raised.value.mistakes[0], Mistake)


def test_no_pattern_is_always(decoder: Decoder) -> None:
    assert parse({}, decoder) == ALWAYS
    assert parse({"all": [{}, {}]}, decoder) == ALWAYS


def test_repr_of_a_condition_is_the_same_in_every_process() -> None:
    """A digest of it says whether a subscription's pattern was changed between two runs."""
    script = "from router.match.operators import OneOf; print(OneOf(frozenset('abcdefgh')))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {b"OneOf(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])\n"}


def test_glob_of_many_stars_is_quick_on_hostile_text(decoder: Decoder, event: EventOf) -> None:
    condition = parse({"rcpt": {"glob": "*a" * 20 + "b"}}, decoder)
    assert not condition.matches(event(rcpt="a" * 5000))
