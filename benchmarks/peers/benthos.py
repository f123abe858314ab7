"""Benthos, the engine of Redpanda Connect: an answer when every output has written the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.product import PATH, Load, Product, found, out, written


def prepare(program: Path, folder: Path, port: int, load: Load) -> Sequence[str]:
    config: dict[str, Any] = {
        "http": {"enabled": False},
        "logger": {"level": "ERROR"},
        "input": {"http_server": {"address": f"127.0.0.1:{port}", "path": PATH, "allowed_verbs": ["POST"]}},
        "output": {"file": {"path": str(out(folder, 0)), "codec": "lines"}},
    }
    if load.filters:
        config["pipeline"] = {
            "threads": 1,
            "processors": [{"mapping": "root = content().string().parse_form_url_encoded()"}],
        }
        outputs = [
            {
                "file": {"path": str(out(folder, i)), "codec": "lines"},
                "processors": [{"mapping": f'root = if this.region != "{load.region(i)}" {{ deleted() }}'}],
            }
            for i in range(load.filters)
        ]
        config["output"] = {"broker": {"pattern": "fan_out", "outputs": outputs}}
    return [str(program), "run", written(folder, "benthos.yaml", config)]


PRODUCT = Product(
    name="Benthos",
    durable="in the page cache of every output",
    program=found("benthos"),
    prepare=prepare,
)
