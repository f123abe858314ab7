"""What the daemon says of itself, for Prometheus: `GET /metrics`, made from one `Status` at each scrape.

Counters begin anew with the process, but for those of a subscription that add up to `router_subscription_journalled`:
they are as durable as its progress, and begin anew when what it wants is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeAlias, get_args

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from router.admin.status import OrphanStatus, SourceStatus, Status, SubscriptionStatus
from router.breaker import State as Breaker
from router.journal import State, Statistics
from router.latency import BOUNDS, Latencies

Exposition: TypeAlias = Callable[[str], tuple[bytes, str]]
"""Takes the header `Accept`, and returns a body and its type."""

_Labels: TypeAlias = Sequence[str]
_Samples: TypeAlias = Iterable[tuple[_Labels, float]]


def exposition(status: Callable[[], Status]) -> Exposition:
    """Return what writes the metrics, together with those of the process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(StatusCollector(status))

    def write(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return write


class StatusCollector(Collector):
    """Turns a status into families of metrics."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """Promise nothing in advance: the registry need not ask for a status to see that names are free."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        status = self._status()
        yield _gauge("router_ready", "1 when all sources take messages and the journal can be written.", status.ready)
        yield _gauge("router_stopping", "1 once it was told to stop.", status.stopping)
        yield _counter(
            "router_undecodable",
            "Messages that no decoder understood; they are journalled like any other.",
            [((), status.undecodable)],
        )
        yield _counter(
            "router_log_dropped_lines",
            "Lines of the log that could not be written, or that nobody read in time.",
            [((), status.log_dropped)],
        )
        yield from _of_sources(status.sources)
        yield from _of_journal(status.journal)
        yield from _of_subscriptions(status.subscriptions)
        yield from _of_orphans(status.orphans)
        yield _gauge_of(
            "router_subscription_dead_letters",
            "Dead letters that are kept, until they are replayed or discarded.",
            [((name,), status.journal.dead.get(name, 0)) for name in {*status.subscriptions, *status.journal.dead}],
            ("subscription",),
        )


def _of_sources(sources: Mapping[str, SourceStatus]) -> Iterator[Metric]:
    labels = ("source",)
    items = sources.items()
    yield _gauge_of(
        "router_source_ready", "1 while the source takes messages.", [((n,), s.ready) for n, s in items], labels
    )
    crews = [(name, source.workers) for name, source in items if source.workers]
    yield _gauge_of(
        "router_source_workers",
        "Front processes that the source is to have.",
        [((n,), len(w)) for n, w in crews],
        labels,
    )
    yield _gauge_of(
        "router_source_workers_ready",
        "Those of them that take messages.",
        [((n,), sum(one.ready for one in w)) for n, w in crews],
        labels,
    )
    yield _gauge_of(
        "router_source_last_error_timestamp_seconds",
        "When the error was that it has not got over yet; 0 while it works.",
        [((n,), s.last_error_at) for n, s in items],
        labels,
    )
    yield _counter(
        "router_source_messages",
        "Messages taken in and answered: they are stored, or were duplicates.",
        [((n,), s.received) for n, s in items],
        labels,
    )
    yield _counter(
        "router_source_undecodable",
        "Messages taken in that no decoder understood.",
        [((n,), s.undecodable) for n, s in items],
        labels,
    )
    yield _counter(
        "router_source_occurrences",
        "What the source counts of its own, such as messages refused for a bad signature.",
        [((n, what), count) for n, s in items for what, count in s.counts.items()],
        ("source", "what"),
    )


def _of_journal(journal: Statistics) -> Iterator[Metric]:
    yield _gauge("router_journal_head", "The position that the next event will get.", journal.head)
    yield _gauge("router_journal_tail", "The oldest position still kept.", journal.tail)
    yield _gauge("router_journal_size_bytes", "What the journal takes on disk.", journal.bytes)
    yield _gauge("router_journal_quota_bytes", "What the journal may take on disk.", journal.quota)
    yield _gauge("router_journal_held_bytes", "What of that may not be deleted: somebody needs it.", journal.held)
    yield _gauge(
        "router_journal_held_percent",
        "The highest of 70, 85 and 95 percent of the quota that is held; 0 below.",
        journal.level,
    )
    yield _gauge("router_journal_failing", "1 while the journal cannot be written.", bool(journal.failing))
    yield _gauge(
        "router_journal_failing_since_timestamp_seconds", "Since when it cannot be written.", journal.failing_since
    )
    yield _gauge("router_journal_lost_events", "Events that were journalled and are no longer there.", journal.lost)
    yield _gauge("router_journal_full", "1 while intake is refused because the quota is reached.", journal.full)
    yield _counter("router_journal_commits", "Transactions written.", [((), journal.commits)])
    yield _counter(
        "router_journal_duplicates",
        "Events dropped because their id was journalled within the duplicate window.",
        [((), journal.duplicates)],
    )
    yield _counter(
        "router_source_duplicates",
        "Events of a source dropped because their id was journalled within the duplicate window.",
        [((name,), count) for name, count in journal.repeated.items()],
        ("source",),
    )
    yield _histogram(
        "router_journal_commit_seconds",
        "How long a transaction took, with its fsync.",
        [((), journal.commit_seconds)],
    )


_COUNTERS = {
    "journalled": "Events that were journalled since its match took effect: the sum of those delivered, filtered, "
    "parked, dead and pending.",
    "delivered": "Events that the destination took.",
    "filtered": "Events that its match or a step left out.",
    "matched": "Events that its match took since the start; those taken again after a failure to open count again.",
    "attempts": "Calls to the destination.",
    "failures": "Calls to the destination that failed, at least for some of their events.",
}
_GAUGES = {
    "parked": "Events that wait for their next try by schedule.",
    "dead": "Events given up on, the discarded ones included; replaying takes them out.",
    "pending": "Events not settled yet: those that wait in the journal and those under way.",
    "in_flight": "Events that are with the destination now.",
    "replaying": "Positions of the journal that its replays have yet to go through.",
    "concurrency": "Calls that may be under way at once.",
    "live": "1 while it is fed from memory; 0 while it lags and reads the journal.",
    "alarm": "1 while its oldest pending event waits for longer than its alarm_after, or while it is held.",
    "draining": "1 while it was removed and delivers what it had.",
    "balance": "What is missing among the parts of those journalled; anything but 0 is a bug.",
    "breaker_seconds": "Until the breaker lets another call through; 0 while it is closed.",
    "oldest_pending_seconds": "How long ago the oldest event was stored that is not settled; 0 when there is none.",
}


def _of_subscriptions(subscriptions: Mapping[str, SubscriptionStatus]) -> Iterator[Metric]:
    labels = ("subscription",)
    items = subscriptions.items()
    for make, described in ((_counter, _COUNTERS), (_gauge_of, _GAUGES)):
        for field, text in described.items():
            values = [((name,), float(getattr(one, field))) for name, one in items]
            yield make(f"router_subscription_{field}", text, values, labels)
    for field, text, states in (
        (
            "state",
            "1 for the state that it is in: whether it delivers, is paused, held, or its destination gone.",
            State,
        ),
        ("breaker", "1 for the state of the breaker before its destination.", Breaker),
    ):
        yield _gauge_of(
            f"router_subscription_{field}",
            text,
            [((name, state), state == getattr(one, field)) for name, one in items for state in get_args(states)],
            ("subscription", "state"),
        )
    yield _counter(
        "router_subscription_failures_by_status",
        "The same by what was answered: a status, no answer, or refused by the sink itself.",
        [((name, status), count) for name, one in items for status, count in one.failures_by.items()],
        ("subscription", "status"),
    )
    for field, about in (
        ("last_error", "When the error was that it has not got over yet; 0 while it works."),
        ("next_due", "When the next parked event is due; 0 when there is none, or that is not known."),
    ):
        value = "last_error_at" if field == "last_error" else field
        yield _gauge_of(
            f"router_subscription_{field}_timestamp_seconds",
            about,
            [((name,), getattr(one, value)) for name, one in items],
            labels,
        )
    yield _histogram(
        "router_subscription_call_seconds",
        "How long a call to the destination took, failed ones included.",
        [((name,), one.call_seconds) for name, one in items],
        labels,
    )


_ORPHANS = {
    "pending": "events that it had not settled when it was taken out, and that are kept.",
    "parked": "events that waited for their next try by schedule then.",
    "dead": "dead letters that are kept.",
}


def _of_orphans(orphans: Mapping[str, OrphanStatus]) -> Iterator[Metric]:
    for field, text in _ORPHANS.items():
        values = [((name,), float(getattr(one, field))) for name, one in orphans.items()]
        said = f"Of a subscription that the state knows and the config does not: {text}"
        yield _gauge_of(f"router_orphan_{field}", said, values, ("subscription",))


def _gauge(name: str, text: str, value: float) -> Metric:
    return _gauge_of(name, text, [((), value)])


def _gauge_of(name: str, text: str, samples: _Samples, labels: _Labels = ()) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, text: str, samples: _Samples, labels: _Labels = ()) -> Metric:
    """Return a counter; the library ends its name with `_total`."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _histogram(
    name: str, text: str, samples: Iterable[tuple[_Labels, Latencies]], labels: _Labels = ()
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    for values, latencies in samples:
        buckets = [(bound, float(n)) for bound, n in zip(bounds, accumulate(latencies.counts), strict=True)]
        family.add_metric(values, buckets, latencies.seconds)
    return family
