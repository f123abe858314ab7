"""Logprep: an answer when the result is in a queue between its web server and its worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.product import PATH, Load, Product, found, out, written


def prepare(program: Path, folder: Path, port: int, load: Load) -> Sequence[str]:
    source = {
        "type": "http_input",
        "message_backlog_size": 1_000_000,
        "collect_meta": False,
        "uvicorn_config": {"host": "127.0.0.1", "port": port},
        "endpoints": {PATH: "plaintext"},
    }
    config: dict[str, Any] = {
        "version": "1",
        "process_count": 1,
        "timeout": 0.1,
        "logger": {"level": "ERROR"},
        "input": {"in": source},
        "pipeline": [],
        "output": {"all": {"type": "jsonl_output", "output_file": str(out(folder, 0))}},
    }
    if load.filters:
        config["pipeline"] = [
            {"filters": {"type": "selective_extractor", "rules": [rule(load, i) for i in range(load.filters)]}}
        ]
        config["output"] = {"all": {"type": "jsonl_output", "output_file": "/dev/null"}}
        config["output"] |= {
            f"s{i}": {
                "type": "jsonl_output",
                "default": False,
                "output_file": "/dev/null",
                "output_file_custom": str(out(folder, i)),
            }
            for i in range(load.filters)
        }
    return [str(program), "run", written(folder, "logprep.yml", config)]


def rule(load: Load, index: int) -> dict[str, Any]:
    """Return a rule that copies the result to an output, if its region is the one that this filter wants."""
    return {
        "filter": f"message: /.*region={load.region(index)}.*/",
        "selective_extractor": {
            "id": f"r{index}",
            "source_fields": ["message"],
            "outputs": [{f"s{index}": "filtered"}],
        },
    }


PRODUCT = Product(
    name="Logprep",
    durable="in a queue in memory",
    program=found("logprep", "logprep/bin/logprep"),
    prepare=prepare,
    version=r"logprep version:\s+(\S+)",
)
