"""The recount: the balance of every subscription of a config, from its journal; what `router verify` shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from router.config.model import Config
from router.config.plan import subscriptions
from router.intake import event_of
from router.journal import Inspection
from router.match import Routes
from router.plugin import Step
from router.verify import NONE_HELD, Balance, Count

Pause = Callable[[float], object]
"""Called again and again with the seconds of work since then; what it raises ends the recount."""


def recount(config: Config, pause: Pause = lambda _worked: None) -> list[Balance]:
    """Recompute the balance of every subscription of the config, and of those that only the journal knows."""
    described = subscriptions(config)
    routes = Routes([planned.route for planned in described], config.decoder)
    with config.journal.inspect(Path(config.state), partial(event_of, config.decoder)) as journal:
        counts = [_counted(journal, one.name, one.pattern, one.subscription.steps) for one in described]
        begun = time.monotonic()
        for segment in journal.segments():
            pause(time.monotonic() - begun)
            begun = time.monotonic()
            for position, event in enumerate(segment.events, segment.first):
                for index in routes.wanted(event):
                    if counted := counts[index]:
                        counted.add(position, event)
        known = {planned.name: counted for planned, counted in zip(described, counts, strict=True)}
        for name in sorted(journal.progress.keys() - known.keys()):
            known[name] = _counted(journal, name, None, ())
        return [one.balance(name, journal.head, journal.tail) for name, one in known.items() if one]


def _counted(journal: Inspection, name: str, pattern: str | None, steps: Sequence[Step]) -> Count | None:
    """Return what counts for a subscription; None if it never ran."""
    progress = journal.progress.get(name)
    held, replays = journal.held.get(name, NONE_HELD), journal.replays.get(name, ())
    return Count(pattern, steps, progress, held, replays) if progress else None
