"""The recount: the balance of every subscription of a config, from its journal; what `router verify` shows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from router.config.model import Config
from router.config.plan import subscriptions
from router.intake import event_of
from router.match import Routes
from router.verify import NONE_HELD, Balance, Count


def recount(config: Config) -> list[Balance]:
    """Recompute the balance of every subscription of the config from its journal."""
    described = subscriptions(config)
    routes = Routes([planned.route for planned in described], config.decoder)
    with config.journal.inspect(Path(config.state), partial(event_of, config.decoder)) as journal:
        counts = [
            Count(
                planned.pattern,
                planned.subscription.steps,
                progress,
                journal.held.get(planned.name, NONE_HELD),
                journal.replays.get(planned.name, ()),
            )
            if (progress := journal.progress.get(planned.name))
            else None
            for planned in described
        ]
        for segment in journal.segments():
            for position, event in enumerate(segment.events, segment.first):
                for index in routes.wanted(event):
                    if counted := counts[index]:
                        counted.add(position, event)
        return [
            counted.balance(planned.name, journal.head, journal.tail)
            for planned, counted in zip(described, counts, strict=True)
            if counted
        ]
