"""Where new subscriptions begin: from now on, or further back in the journal, as their `start:` says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import tzinfo

import structlog

from router.config.model import Config
from router.config.moment import moment
from router.config.plan import subscriptions
from router.journal import Partition
from router.journal.seek import seek_waiting

log = structlog.get_logger("service")


async def beginnings(config: Config, partition: Partition) -> Mapping[str, int]:
    """Return the positions at which those begin that are new and do not start from now."""
    found: dict[str, int] = {}
    for planned in subscriptions(config):
        start = planned.subscription.start
        if start != "now" and partition.progress(planned.name) is None:
            found[planned.name] = await _position(planned.name, start, config.decoder.zone(), partition)
    return found


async def _position(name: str, start: str, zone: tzinfo, partition: Partition) -> int:
    if start == "earliest":
        return partition.tail
    since = moment(start, time.time(), zone)
    position = await seek_waiting(partition.tail, partition.head, since, partition.stored_at)
    if position == partition.tail > 1:
        log.warning("the journal may not go back so far", subscription=name, start=start, begins_at=position)
    return position
