"""Fluent Bit: an answer when the result is in memory, or with `disk` in a mapped chunk that is synced now and then.

Written from its documentation (5.1); it could not be had where these benchmarks were made, so it has not been run. Its
HTTP input takes forms, not text, so the load says that it sends one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.product import Load, Product, found, out, written


def prepare(program: Path, folder: Path, port: int, load: Load, *, disk: bool) -> Sequence[str]:
    storage = {"storage.type": "filesystem"} if disk else {}
    source = {"name": "http", "tag": "in", "listen": "127.0.0.1", "port": port, "successful_response_code": 200}
    service: dict[str, Any] = {"flush": 0.2, "log_level": "error"}
    if disk:
        service |= {"storage.path": str(folder / "storage"), "storage.sync": "full", "storage.checksum": "on"}
    pipeline: dict[str, Any] = {"inputs": [source | storage], "outputs": [target(folder, "in", 0)]}
    if load.filters:
        # A rule list ends at its first match, so each filter is one of its own; what it emits has another tag.
        pipeline["filters"] = [
            {
                "name": "rewrite_tag",
                "match": "in",
                "rule": f"$region ^{load.region(i)}$ out.{i}. true",
                "emitter_name": f"emitter{i}",
            }
            for i in range(load.filters)
        ]
        pipeline["outputs"] = [{"name": "null", "match": "in"}]
        pipeline["outputs"] += [target(folder, f"out.{i}.", i) for i in range(load.filters)]
    return [str(program), "-c", written(folder, "fluent-bit.yaml", {"service": service, "pipeline": pipeline})]


def target(folder: Path, tag: str, index: int) -> dict[str, Any]:
    """Return an output that writes what has a tag to the file of a filter."""
    path = out(folder, index)
    return {"name": "file", "match": tag, "path": str(path.parent), "file": path.name, "format": "plain"}


MEMORY = Product(
    name="Fluent Bit",
    durable="in memory",
    program=found("fluent-bit"),
    prepare=partial(prepare, disk=False),
    content_type="application/x-www-form-urlencoded",
)
DISK = MEMORY._replace(
    name="Fluent Bit, disk",
    durable="in a mapped chunk, synced about once a second",
    prepare=partial(prepare, disk=True),
)
