"""Events to files, one a line, in paths made from the events' fields: `archive/{time:%Y-%m-%d}/{region}.jsonl`.

Delivered means on disk, and exactly once across a crash: the files' lengths are committed with the subscription's
progress, and lines that stand beyond them and come again are not written again (`overlap`). That needs order, so what
fails waits, and the subscription's other files with it. A length is kept until the journal has none of the events any
more that were delivered before it changed last; a file without one is looked through instead.

Files may be moved away, cut or removed under it (logrotate): that is noticed before the next write, and holds across a
crash, for a file that was moved as long as it stays in its folder or one below. What was written in the last second
before a crash, to a file that is compressed, moved elsewhere or removed before the router runs again, comes again.

The values of fields come from anyone, so in a path they are made harmless, see `harmless`.

`form: raw` writes the bytes as they came, and a newline where they do not end with one. A message with a line break
inside (an XML envelope, say) would become several lines that nobody could put together again: it is refused, and so
stays readable as a dead letter. Where those are wanted in a file, use `form: json`.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Annotated, ClassVar, Literal, TypeAlias

import anyio
import msgspec

from router import (
    Batch,
    ConfigError,
    Deliver,
    Event,
    Marks,
    OutputTemplate,
    Placed,
    Reject,
    Retry,
    Sink,
    Threads,
    json_lines,
)
from router_plugins.append import IDLE, Appender, Begun
from router_plugins.descriptors import for_files
from router_plugins.failures import raise_for
from router_plugins.template import Clean, Template, parse

LONGEST_VALUE = 72
"""Bytes that a field's value takes in a path at most, so that three of them fit into one name."""
LONGEST_NAME = 255
"""Bytes of a name in a folder, on every common file system."""
_DIGEST = 16
_UNSAFE = re.compile(r"^[.-]|[^A-Za-z0-9._@+=,-]")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
FAREWELL = 1.0
"""Seconds that closing the files may take; one that hangs is closed when it no longer does."""
_BEGIN = b'{"id":"'
"""What each line of `Event.json()` begins with."""


class File(Sink, frozen=True, kw_only=True):
    """Append every event to a file."""

    batch: ClassVar[int] = 2500
    pace: ClassVar[float] = 0.05
    keeps_positions: ClassVar[bool] = True
    reads_only: ClassVar[bool] = True

    path: OutputTemplate
    """Template of the path, from the config's folder: `{name}` is a field, `{time:%Y-%m-%d}` the event's time."""
    form: Literal["json", "raw"] = "json"
    max_open: Annotated[int, msgspec.Meta(ge=1)] = 64
    """Files kept open at most."""

    def check(self) -> None:
        """Refuse a template that cannot give the path of a file."""
        sample = parse(self.path, "path").sample("x" * LONGEST_VALUE)
        if not sample.isprintable():
            raise ConfigError("path", "has a control character in it")
        if sample.endswith("/"):
            raise ConfigError("path", "names a folder, not a file", "such as archive/{time:%Y-%m-%d}.jsonl")
        if sample.endswith(_COMPRESSED):
            raise ConfigError("path", "promises a compressed file, but the lines are written as they are", "use .jsonl")
        if any(len(os.fsencode(name)) > LONGEST_NAME for name in sample.split("/")):
            raise ConfigError("path", "can give a name that is too long", "put a / between the fields")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Keep files open between batches."""
        async with self.resume({}) as place:

            async def deliver(batch: Batch) -> None:
                await place(batch)

            yield deliver

    @asynccontextmanager
    async def resume(self, marks: Mapping[str, int]) -> AsyncGenerator[Placed]:
        """Go on behind the lengths of the files, by path in bytes, that were committed last."""
        arranged = partial(_arranged, parse(self.path, "path"), lru_cache(1024)(harmless), self.form)
        appender = Appender(self.max_open, _BEGIN, marks, for_files())
        threads, opened = Threads(), time.time()
        used = anyio.Event()

        async def place(batch: Batch) -> Mapping[str, int]:
            texts, indices, refused = arranged(batch)
            append = partial(appender.append, texts, new=bool(batch) and batch[0].received > opened)
            while isinstance(results := await threads.run(append), Begun):
                if isinstance(marks, Marks):
                    await marks.keep(results.marks)
            used.set()
            failed = {path: result for path, result in results.items() if isinstance(result, OSError)}
            done = [result for result in results.values() if not isinstance(result, OSError)]
            lengths = {name: length for changed in done for name, length in changed.items()}
            raise_for(refused | _by_index(failed, indices), len(batch), lengths)
            return lengths

        async def close_idle() -> None:
            nonlocal used
            while True:
                await used.wait()
                used = anyio.Event()
                with anyio.move_on_after(IDLE):
                    await used.wait()
                    continue
                await threads.run(appender.close)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_idle)
            try:
                yield place
            finally:
                tasks.cancel_scope.cancel()
                closing = threads.begin(appender.close)
                with anyio.move_on_after(FAREWELL, shield=True):
                    await closing.result()


def harmless(value: str) -> str:
    """Return a value as a piece of a file's name; different values give different pieces.

    Letters, digits and `._@+=,-` stay; all else is percent-encoded as UTF-8, as are a dot or hyphen in front (`..`,
    hidden files, options). An empty value becomes `_`. A long one is cut and gets `~` and 64 bits of its SHA-256.
    """
    if not value:
        return "_"
    if value == "_":
        return "%5F"
    encoded = _UNSAFE.sub(lambda found: _percent(found[0]), value)
    if len(encoded) <= LONGEST_VALUE:
        return encoded
    digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    return f"{encoded[: LONGEST_VALUE - _DIGEST - 1]}~{digest}"


def _percent(char: str) -> str:
    return "".join([f"%{byte:02X}" for byte in char.encode(errors="surrogatepass")])


_Arranged: TypeAlias = tuple[Mapping[str, bytes], Mapping[str, Sequence[int]], dict[int, Retry | Reject]]


def _arranged(template: Template, clean: Clean, form: str, batch: Batch) -> _Arranged:
    """Return the text for each path, which of the batch's events are in it, and those that are in none."""
    if form == "json" and (path := template.constant) is not None:
        return {path: json_lines(batch)}, {path: range(len(batch))}, {}
    refused: dict[int, Retry | Reject] = {}
    lines: dict[str, list[bytes]] = defaultdict(list)
    indices: dict[str, list[int]] = defaultdict(list)
    for index, event in enumerate(batch):
        try:
            line = _line(event, form)
        except Reject as error:
            refused[index] = error
            continue
        path = template.render(event, clean)
        lines[path].append(line)
        indices[path].append(index)
    return {path: b"".join(some) for path, some in lines.items()}, indices, refused


def _line(event: Event, form: str) -> bytes:
    """Return the event as one line, with its newline; raise `Reject` where its bytes are several."""
    if form == "json":
        return event.json() + b"\n"
    raw = bytes(event.raw)
    if b"\n" in raw[:-1]:
        raise Reject("the message has a line break in it, which a line of a file cannot hold; use form: json")
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _by_index(failed: Mapping[str, OSError], indices: Mapping[str, Sequence[int]]) -> dict[int, Retry | Reject]:
    """Turn the errors of paths into those of events."""
    errors: dict[int, Retry | Reject] = {}
    for path, error in failed.items():
        retry = Retry(f"{path}: {error.strerror or error}")
        errors.update(dict.fromkeys(indices[path], retry))
    return errors
