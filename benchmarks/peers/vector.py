"""Vector: an answer when the result is in memory, or with `disk` in a buffer file that a timer syncs.

Written from its documentation (0.58); it could not be had where these benchmarks were made, so it has not been run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.product import PATH, Load, Product, found, out, written

_BUFFER = {"type": "disk", "max_size": 2**30, "when_full": "block"}


def prepare(program: Path, folder: Path, port: int, load: Load, *, disk: bool) -> Sequence[str]:
    source = {
        "type": "http_server",
        "address": f"127.0.0.1:{port}",
        "path": PATH,
        "method": "POST",
        "encoding": "text",
        "framing": {"method": "bytes"},
    }
    sink: dict[str, Any] = {"type": "file"} | ({"buffer": _BUFFER} if disk else {})
    config: dict[str, Any] = {"data_dir": str(folder), "sources": {"in": source}}
    if load.filters:
        config["transforms"] = {
            "parsed": {"type": "remap", "inputs": ["in"], "source": ". = parse_query_string!(.message)"},
            **{
                f"f{i}": {"type": "filter", "inputs": ["parsed"], "condition": f'.region == "{load.region(i)}"'}
                for i in range(load.filters)
            },
        }
        config["sinks"] = {
            f"s{i}": sink | {"inputs": [f"f{i}"], "path": str(out(folder, i)), "encoding": {"codec": "json"}}
            for i in range(load.filters)
        }
    else:
        config["sinks"] = {"s": sink | {"inputs": ["in"], "path": str(out(folder, 0)), "encoding": {"codec": "text"}}}
    return [str(program), "--threads", "1", "--quiet", "--config-yaml", written(folder, "vector.yaml", config)]


MEMORY = Product(
    name="Vector",
    durable="in memory",
    program=found("vector"),
    prepare=partial(prepare, disk=False),
)
DISK = MEMORY._replace(
    name="Vector, disk buffer",
    durable="in a buffer file, synced by a timer of 500 ms",
    prepare=partial(prepare, disk=True),
)
