"""`GET /metrics` says all that the status says, in a form that Prometheus reads."""

from __future__ import annotations

import re
import timeit
import urllib.request
from pathlib import Path
from typing import Any, get_args

import anyio
import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from servers.daemon import Daemon, free_port, post, running

from router.admin.metrics import exposition
from router.admin.status import FrontStatus, OrphanStatus, SourceStatus, Status, SubscriptionStatus
from router.breaker import State as Breaker
from router.journal import State, Statistics
from router.latency import BOUNDS, Latencies, Latency

pytestmark = pytest.mark.anyio

SUBSCRIPTION = SubscriptionStatus(
    journalled=21,
    delivered=6,
    filtered=5,
    parked=4,
    dead=3,
    pending=3,
    in_flight=2,
    attempts=9,
    failures=1,
    state="active",
    breaker="closed",
    concurrency=8,
    live=True,
    last_error="",
    failures_by={"503": 1},
)
STATUS = Status(
    ready=True,
    journal=Statistics(
        head=22,
        tail=1,
        duplicates=2,
        commits=7,
        bytes=4096,
        quota=8192,
        held=4000,
        full=False,
        dead={"a/x": 3},
        repeated={"p": 2},
    ),
    undecodable=1,
    sources={"p": SourceStatus(ready=True, received=24, counts={"bad_signature": 5})},
    subscriptions={"a/x": SUBSCRIPTION},
    orphans={"a/old": OrphanStatus(pending=3, parked=2, dead=1)},
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("router_")
    }


def scraped(status: Status) -> Samples:
    return samples(exposition(lambda: status)("")[0].decode())


def of(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def other(value: Any) -> Any:
    """Return another value of the same kind, as the status could have it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return next(s for s in (*get_args(State), *get_args(Breaker)) if s != value and s[0] in "op")
    if isinstance(value, dict):
        return {key: other(one) for key, one in value.items()}
    if isinstance(value, Latencies):
        return Latencies((1, *value.counts[1:]), 0.5)
    if isinstance(value, tuple):
        return FrontStatus(pid=1, ready=True, deaths=0), *value
    raise AssertionError(value)


@pytest.mark.parametrize(
    ("struct", "put"),
    [
        (STATUS, lambda new: new),
        (STATUS.journal, lambda new: msgspec.structs.replace(STATUS, journal=new)),
        (STATUS.sources["p"], lambda new: msgspec.structs.replace(STATUS, sources={"p": new})),
        (SUBSCRIPTION, lambda new: msgspec.structs.replace(STATUS, subscriptions={"a/x": new})),
        (STATUS.orphans["a/old"], lambda new: msgspec.structs.replace(STATUS, orphans={"a/old": new})),
    ],
    ids=["status", "journal", "source", "subscription", "orphan"],
)
def test_every_field_of_the_status_has_its_metric(struct: Any, put: Any) -> None:
    """Whatever changes in the status changes in the metrics; only texts for people are left out."""
    inner = {"journal", "sources", "subscriptions", "orphans", "last_error"}
    before = scraped(STATUS)
    silent = [
        field
        for field in struct.__struct_fields__
        if field not in inner
        and scraped(put(msgspec.structs.replace(struct, **{field: other(getattr(struct, field))}))) == before
    ]
    assert not silent


def test_the_balance_is_zero_until_something_is_missing() -> None:
    assert of(scraped(STATUS), "router_subscription_balance", subscription="a/x") == 0
    lost = msgspec.structs.replace(SUBSCRIPTION, delivered=4)
    found = scraped(msgspec.structs.replace(STATUS, subscriptions={"a/x": lost}))
    assert of(found, "router_subscription_balance", subscription="a/x") == 2


def test_fronts_that_take_nothing_are_seen() -> None:
    two = msgspec.structs.replace(STATUS.sources["p"], workers=(FrontStatus(1, True, 3), FrontStatus(0, False, 1)))
    found = scraped(msgspec.structs.replace(STATUS, sources={"p": two}))
    assert of(found, "router_source_workers", source="p") == 2
    assert of(found, "router_source_workers_ready", source="p") == 1


def test_a_state_is_one_of_its_series() -> None:
    found = scraped(STATUS)
    states = {key: value for key, value in found.items() if key[0] == "router_subscription_breaker"}
    assert len(states) == len(get_args(Breaker))
    assert sum(states.values()) == of(found, "router_subscription_breaker", subscription="a/x", state="closed") == 1


def test_names_follow_the_conventions() -> None:
    """Every name begins with `router_`, every family has its help, counters end in `_total`, and units come last."""
    text = exposition(lambda: STATUS)("")[0].decode()
    families = [f for f in text_string_to_metric_families(text) if f.name.startswith("router_")]
    assert len(families) > 25
    for family in families:
        assert re.fullmatch(r"[A-Z1].*\.|1 .*", family.documentation), family
        assert not family.name.endswith(("_ms", "_size", "_latency", "_count"))
        if family.type == "counter":
            assert {s.name for s in family.samples} <= {f"{family.name}_total"}


def test_it_speaks_open_metrics_when_asked() -> None:
    body, content_type = exposition(lambda: STATUS)("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert any(f.name == "router_subscription_delivered" for f in open_metrics(body.decode()))  # type: ignore[no-untyped-call]


def test_hostile_names_of_counts_are_escaped() -> None:
    """A source may count whatever it likes."""
    what = 'a"b\\c\nd{}'
    source = SourceStatus(ready=True, received=0, counts={what: 3})
    found = scraped(msgspec.structs.replace(STATUS, sources={"p": source}))
    assert of(found, "router_source_occurrences_total", source="p", what=what) == 3


def test_observing_costs_less_than_a_microsecond() -> None:
    latency = Latency()
    assert min(timeit.repeat(lambda: latency.observe(0.003), number=20_000, repeat=5)) / 20_000 < 1e-6


def test_each_observation_is_in_one_bucket() -> None:
    latency = Latency()
    for seconds in (0.0, BOUNDS[0], 0.0002, BOUNDS[-1], 1e9):
        latency.observe(seconds)
    counts = latency.snapshot().counts
    assert (counts[0], counts[1], counts[-2], counts[-1], sum(counts)) == (2, 1, 1, 1, 5)


async def test_a_scrape_of_the_daemon_says_what_happened(tmp_path: Path) -> None:
    departments = f"""
  a:
    accounts: ["*@shop.example.com"]
    subscriptions:
      all: {{to: {{type: file, path: "{{out}}/all.jsonl"}}}}
      down: {{to: {{type: webhook, url: "http://127.0.0.1:{free_port()}/"}}, delivery: {{retry_min: 10ms}}}}
"""
    answered: dict[int, int] = {}
    with running(tmp_path, departments) as daemon:
        await post(daemon.url, [*range(50), *range(10)], answered)
        await anyio.to_thread.run_sync(daemon.wait_settled, "a/all")
        found = await anyio.to_thread.run_sync(scrape, daemon)
        with anyio.fail_after(10):
            while of(found, "router_subscription_oldest_pending_seconds", subscription="a/down") < 1:
                await anyio.sleep(0.1)
                found = await anyio.to_thread.run_sync(scrape, daemon)
    assert of(found, "router_source_messages_total", source="push") == 60
    assert of(found, "router_source_duplicates_total", source="push") == 10
    assert of(found, "router_subscription_delivered_total", subscription="a/all") == 50
    assert of(found, "router_subscription_matched_total", subscription="a/all") == 50
    assert of(found, "router_subscription_oldest_pending_seconds", subscription="a/all") == 0
    assert of(found, "router_subscription_call_seconds_count", subscription="a/all") > 0
    assert of(found, "router_subscription_pending", subscription="a/down") == 50
    assert of(found, "router_subscription_oldest_pending_seconds", subscription="a/down") < 60
    assert 0 < of(found, "router_journal_commit_seconds_count") <= of(found, "router_journal_commits_total")
    assert of(found, "router_journal_commit_seconds_sum") > 0
    assert {v for (name, _), v in found.items() if name == "router_subscription_balance"} == {0}


def scrape(daemon: Daemon) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.admin}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return samples(answer.read().decode())
