"""What a webhook's answers mean: of the event, of the moment, or of the endpoint; and how a config says otherwise."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest
from aiohttp import web
from servers.hook import answering

from router import ConfigError, Partial, Reject, Retry, Secret
from router.testing import make_events
from router_plugins.webhook import Webhook
from router_plugins.webhook_answers import Statuses

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Endpoint:
    """Answers with these statuses, one after the other, then with the last; and with these headers."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.url = ""

    async def take(self, _: web.Request) -> web.Response:
        self.asked += 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, headers=self.headers)


@pytest.fixture
async def endpoint() -> AsyncGenerator[Endpoint]:
    made = Endpoint()
    async with answering(made.take) as made.url:
        yield made


async def error_of(endpoint: Endpoint, answers: Sequence[int], count: int = 1, **options: Any) -> Exception | None:
    """Deliver events to an endpoint that answers so; return what was raised."""
    endpoint.statuses = list(answers)
    sink = msgspec.convert({"url": endpoint.url, **options}, Webhook, dec_hook=lambda kind, value: kind(value))
    sink.check()
    async with sink.open() as deliver:
        try:
            await deliver(make_events(count))
        except (Retry, Reject, Partial) as error:
            return error
    return None


@pytest.mark.parametrize(
    ("status", "hold"),
    [(401, True), (403, True), (404, True), (405, True), (407, True)]
    + [(status, None) for status in (400, 402, 406, 409, 411, 414, 415, 418, 421, 422, 424, 428, 431, 451, 499)],
)
async def test_some_refusals_are_as_a_rule_of_everything(
    endpoint: Endpoint,
    status: int,
    hold: bool | None,  # noqa: FBT001 - drawn
) -> None:
    error = await error_of(endpoint, [status])
    assert isinstance(error, Reject)
    assert (error.status, error.hold, error.sure) == (status, hold, False)


async def test_a_body_that_is_too_large_for_now_is_tried_again(endpoint: Endpoint) -> None:
    """RFC 9110 section 15.5.14: if the condition is temporary, the server says Retry-After."""
    assert isinstance(await error_of(endpoint, [413]), Reject)
    endpoint.headers = {"Retry-After": "7"}
    error = await error_of(endpoint, [413])
    assert isinstance(error, Retry)
    assert (error.after, error.status) == (7.0, 413)
    assert isinstance(await error_of(endpoint, [413], statuses={"reject": [413]}), Reject)


async def test_a_failure_says_what_was_answered(endpoint: Endpoint) -> None:
    error = await error_of(endpoint, [503])
    assert isinstance(error, Retry)
    assert error.status == 503


@pytest.mark.parametrize(
    ("statuses", "status", "kind", "hold"),
    [
        ({"delivered": [409]}, 409, None, None),
        ({"delivered": ["4xx"]}, 404, None, None),
        ({"delivered": ["5xx"], "retry": [503]}, 500, None, None),
        ({"retry": [400]}, 400, Retry, None),
        ({"retry": [200]}, 200, Retry, None),
        ({"retry": ["4xx"], "hold": [422]}, 401, Retry, None),
        ({"reject": [404]}, 404, Reject, False),
        ({"reject": [503]}, 503, Reject, False),
        ({"reject": ["3xx"]}, 302, Reject, False),
        ({"hold": [422]}, 422, Reject, True),
        ({"hold": ["4xx"], "reject": [400]}, 409, Reject, True),
        ({"hold": ["4xx"], "reject": [400]}, 400, Reject, False),
        ({"reject": ["4xx"]}, 410, Reject, None),
    ],
)
async def test_a_config_says_what_a_status_means(
    endpoint: Endpoint,
    statuses: dict[str, Any],
    status: int,
    kind: type[Exception] | None,
    hold: bool | None,  # noqa: FBT001 - drawn
) -> None:
    """One by itself, or all of a class that are not named; 410 is always the end."""
    error = await error_of(endpoint, [status], statuses=statuses)
    assert isinstance(error, kind) if kind else error is None
    assert getattr(error, "hold", None) == hold
    assert str(error).startswith("gone") == (status == 410)


@pytest.mark.parametrize(
    ("statuses", "problem"),
    [
        (Statuses(retry=(400,), reject=(400,)), "400 has another meaning already"),
        (Statuses(retry=("4xx",), hold=("4xx",)), "4xx has another meaning already"),
        (Statuses(reject=(410,)), "410 always says that the endpoint is gone"),
    ],
)
def test_a_status_with_two_meanings_is_a_mistake(statuses: Statuses, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Webhook(url=Secret("http://x.example/"), statuses=statuses).check()


@pytest.mark.parametrize(
    "wrong", [{"retry": [99]}, {"retry": [600]}, {"retry": ["6xx"]}, {"retry": ["4x"]}, {"no": [1]}]
)
def test_what_is_no_status_is_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Statuses)


@pytest.mark.parametrize(("statuses", "asked"), [([204, 401], 2), ([204, *[400] * 30], 21), ([503], 1)])
async def test_a_batch_ends_where_the_endpoint_seems_to_refuse_everything(
    endpoint: Endpoint, statuses: list[int], asked: int
) -> None:
    """What was not tried is not refused."""
    error = await error_of(endpoint, statuses, count=50)
    assert endpoint.asked == asked
    rest = error.errors[49] if isinstance(error, Partial) else error
    assert isinstance(rest, Retry)


async def test_a_batch_goes_on_past_events_that_are_refused_for_sure(endpoint: Endpoint) -> None:
    error = await error_of(endpoint, [400], count=50, statuses={"reject": [400]})
    assert endpoint.asked == 50
    assert isinstance(error, Partial)
    assert all(isinstance(one, Reject) and one.sure for one in error.errors.values())
