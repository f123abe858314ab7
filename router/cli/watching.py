"""Watching the config: whoever changes its files need not tell the daemon.

Folders are watched, not files: editors replace a file by another of its name, and where a config is mounted into a
container, a symbolic link in the folder changes. What counts is what can be read through the path afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import structlog
from watchfiles import awatch

from router.config.files import contents, files

QUIET = 200
"""Milliseconds without another change after which the files are looked at; whoever writes goes on for so long."""
LOOK = 5000
"""Milliseconds after which they are looked at anyway: not every file system tells of changes."""

log = structlog.get_logger("config")


async def watch(
    config: Path, environ: Mapping[str, str], changed: Callable[[], None], pem_files: Collection[Path] = ()
) -> None:
    """Call `changed` whenever the content of the config's files is another than before, until cancelled.

    `pem_files` are those that the config named when it was loaded last; they may become others.
    """
    some = (*files(config, environ), *sorted(pem_files))
    known = contents(some)
    while True:
        folders = _folders(some)
        async for _ in awatch(
            *folders, watch_filter=None, step=QUIET, rust_timeout=LOOK, yield_on_timeout=True, recursive=False
        ):
            some = (*files(config, environ), *sorted(pem_files))
            now = contents(some)
            if now != known:
                known = now
                log.info("the config's files have changed")
                changed()
            if _folders(some) != folders:
                break


def _folders(some: tuple[Path, ...]) -> frozenset[Path]:
    """Return the folders in which a change can mean another content: of the path, and of what it leads to."""
    around = {folder for path in some for folder in (path.parent.absolute(), path.resolve().parent)}
    return frozenset(folder for folder in around if folder.is_dir())
