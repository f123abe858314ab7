"""As many descriptors as the system gives this process: it starts with few, for programs that use `select`."""

from __future__ import annotations

import resource

import structlog

ENOUGH = 2**20
"""More are not asked for: where there is no limit, tables of all of them would be."""

log = structlog.get_logger(__name__)


def raise_limit() -> None:
    """Raise the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as error:
        log.warning("the limit of descriptors cannot be raised", soft=soft, hard=hard, error=str(error))
