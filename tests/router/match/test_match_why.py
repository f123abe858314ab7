"""Why an event was filtered, in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.event import Message
from router.match import parse, why_not
from router_plugins.directmail.decoder import DirectMail

DECODER = DirectMail()
EVENT = DECODER.decode(
    Message(
        b"env_id=1&msg_id=2&account=a@b.cn&from=a@b.cn&rcpt=c@e.cn&recv_time=2017-04-14 11:44:47"
        b"&end_time=2017-04-14 11:44:48&status=2&event=deliver&region=cn-hangzhou&err_code=550&err_msg=550 no",
        0.0,
    ),
    "push",
)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ({"region": "cn-hangzhou"}, ""),
        ({"region": ["b", "a"], "status": 2}, "`region` is `cn-hangzhou`, not one of `a`, `b`"),
        ({"region": "x", "status": 4}, "`region` is `cn-hangzhou`, not `x`; `status` is `2`, not `4`"),
        ({"rcpt": {"suffix": "@x"}}, "`rcpt` is `c@e.cn`, not {suffix: @x}"),
        ({"tag": {"exists": True}}, "`tag` is absent, not present"),
        ({"status": {"not": 2}}, "`not` excludes it: `status` is `2`, which is `2`"),
        (
            {"not": {"any": [{"region": "x"}, {"rcpt": {"prefix": "c@"}}]}},
            "`not` excludes it: `rcpt` is `c@e.cn`, which is {prefix: c@}",
        ),
        ({"err_code": {"range": [400, 499]}}, "`err_code` is `550`, not in the range [400, 499]"),
        (
            {"any": [{"region": "x"}, {"status": 4}]},
            "none of these: (`region` is `cn-hangzhou`, not `x`) or (`status` is `2`, not `4`)",
        ),
    ],
)
def test_a_condition_that_fails_names_the_values_it_failed_on(pattern: Any, why: str) -> None:
    assert why_not(parse(pattern, DECODER), EVENT) == why


TESTS = st.sampled_from(
    [{"region": "cn-hangzhou"}, {"region": "x"}, {"status": {"not": 2}}, {"tag": {"exists": False}}]
)
PATTERNS: st.SearchStrategy[Any] = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"all": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=6,
)


@given(PATTERNS)
def test_there_is_a_reason_exactly_if_the_condition_fails(pattern: Any) -> None:
    condition = parse(pattern, DECODER)
    assert bool(why_not(condition, EVENT)) != condition.matches(EVENT)
