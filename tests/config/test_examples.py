"""The examples in config/ are true: they load, and full.yaml has every option."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ruamel.yaml import YAML

from router.config import Admin, Config, Delivery, Department, Subscription, load
from router.config.plugins import KINDS

CONFIG = Path(__file__).parents[2] / "config"
ENVIRON = {
    "PUSH_SECRET": "s3cret", "DEMO_DIR": "demo", "DEMO_EMULATOR": "http://127.0.0.1:1", "DEMO_WEBHOOKS": "http://127.0.0.1:2",
    "DEMO_PUSH_PORT": "3", "DEMO_ADMIN_PORT": "4",
}  # fmt: skip
ELSEWHERE = {("journal", "memory")}
"""Plugins of a kind of which a config has one only; full.yaml shows the other in a comment."""


@pytest.mark.parametrize("name", sorted(p.name for p in CONFIG.glob("*.yaml")))
def test_every_example_loads(name: str, tmp_path: Path) -> None:
    environ = ENVIRON
    if name == "demo.yaml":
        pem = Path(__file__).parents[1] / "plugins" / "mns" / "vectors" / "push-test-cert.pem"
        (tmp_path / "emulator.pem").write_bytes(pem.read_bytes())
        environ = {**ENVIRON, "DEMO_DIR": str(tmp_path)}
    assert load(CONFIG / name, environ).departments


def mappings(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from mappings(value, (*path, str(key)))
    elif isinstance(node, list):
        for value in node:
            yield from mappings(value, path)


def keys_of(struct: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def full() -> Any:
    return YAML(typ="safe").load((CONFIG / "full.yaml").read_text())


def plugins() -> list[tuple[str, str, type[msgspec.Struct]]]:
    return [
        (kind, point.name, point.load())
        for kind in KINDS.values()
        for point in entry_points(group=f"router.{kind}s")
        if (kind, point.name) not in ELSEWHERE
    ]


@pytest.mark.parametrize(("kind", "name", "struct"), plugins(), ids=lambda v: v if isinstance(v, str) else "")
def test_full_yaml_has_every_option_of_every_plugin(kind: str, name: str, struct: type[msgspec.Struct]) -> None:
    shown = [node for _, node in mappings(full()) if node.get("type") == name and "to" not in node]
    assert shown, f"full.yaml does not show the {kind} {name}"
    assert keys_of(struct) <= set().union(*shown), f"full.yaml lacks options of {kind} {name}"


def test_full_yaml_has_every_other_option() -> None:
    tree = full()
    departments = tree["departments"].values()
    subscriptions = [s for d in departments for s in d.get("subscriptions", {}).values()]
    assert keys_of(Config) <= tree.keys()
    assert keys_of(Admin) <= tree["admin"].keys()
    assert keys_of(Department) <= set().union(*departments)
    assert keys_of(Subscription) <= set().union(*subscriptions)
    assert keys_of(Delivery) <= set().union(*(s.get("delivery", {}) for s in subscriptions))


def test_full_yaml_shows_every_operator_of_match() -> None:
    words = {key for path, node in mappings(full()) if "match" in path for key in node}
    assert {"prefix", "suffix", "glob", "not", "exists", "range", "cidr", "any", "all"} <= words
