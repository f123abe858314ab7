"""The files that a config is made of: its own, and those that hold its secrets (`{file: path}`).

Drop-in plugins do not count: they are code, whose files may be changed one after the other before all of them fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from router.config.environment import expand
from router.config.nodes import BYTES, BadText, ListNode, MapNode, Node, Scalar, read
from router.config.secrets import read_file


def files(config: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the config file, and behind it the secrets' as far as it can be read."""
    try:
        root = read(read_file(config, BYTES).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, BadText):
        return (config,)
    named = (config.parent / expand(text, environ).text for text in _named(root))
    return (config, *dict.fromkeys(named))


def contents(some: tuple[Path, ...]) -> tuple[bytes | None, ...]:
    """Return what is in each file; None for one that cannot be read."""
    return tuple(_content(path) for path in some)


def _content(path: Path) -> bytes | None:
    try:
        return read_file(path, BYTES)
    except OSError:
        return None


def _named(node: Node) -> Iterator[str]:
    """Yield what stands behind the only key `file` of a mapping."""
    match node:
        case MapNode(entries=((Scalar(text="file"), Scalar(text=text)),)):
            yield text
        case MapNode(entries=entries):
            for _, value in entries:
                yield from _named(value)
        case ListNode(items=items):
            for item in items:
                yield from _named(item)
        case _:
            pass
