"""PEM files of a config: read when it is, so that a reload exchanges exactly what uses those that have changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from router.config.loading import load
from router.config.plan import plan
from router.config.problem import BadConfig

CONFIG = """
sources:
  pinned: {type: mns_push, listen: "127.0.0.1:1", certificate: pinned.pem}
  bus:
    type: mns_push
    listen: "127.0.0.1:2"
    eventbridge: {url: "https://r.example/e", token: s3cr3t-t0k3n, certificate: bus.pem}
  served: {type: mns_push, listen: "127.0.0.1:3", tls: {certificate: served.pem, key: served.key}}
departments:
  a:
    accounts: ["*"]
    subscriptions:
      hook: {to: {type: webhook, url: "https://x", ca: hook.pem, certificate: client.pem, private_key: client.key}}
      kafka: {to: {type: kafka, servers: ["k:1"], topic: t, tls: true, ca: kafka.pem, certificate: both.pem}}
      file: {to: {type: file, path: out}}
"""
USERS = {
    "pinned.pem": "sources.pinned",
    "bus.pem": "sources.bus",
    "served.pem": "sources.served",
    "hook.pem": "a/hook",
    "client.pem": "a/hook",
    "kafka.pem": "a/kafka",
    "both.pem": "a/kafka",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "router.yaml").write_text(CONFIG)
    for name in USERS:
        issue(tmp_path / name)
    return tmp_path


def issue(file: Path) -> None:
    """Write a new certificate, and its key beside it or behind it."""
    issued = trustme.CA().issue_cert("x.example", key_type=trustme.KeyType.RSA)
    chain, key = b"".join(pem.bytes() for pem in issued.cert_chain_pems), issued.private_key_pem.bytes()
    file.write_bytes(chain + key * (file.name == "both.pem"))
    file.with_suffix(".key").write_bytes(key)


@pytest.mark.parametrize("name", USERS)
def test_a_reload_exchanges_what_uses_the_file_and_nothing_else(folder: Path, name: str) -> None:
    old = load(folder / "router.yaml", {})
    assert plan(old, load(folder / "router.yaml", {})).changed == ()
    issue(folder / name)
    change = plan(old, load(folder / "router.yaml", {}))
    assert (change.added, change.removed, change.changed) == ((), (), (USERS[name],))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:300])


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("spoil", [Path.unlink, empty, cut, pipe, folder_instead])
def test_a_file_that_cannot_be_used_is_a_mistake_that_names_it(
    folder: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(folder / name)
    files: set[Path] = set()
    with pytest.raises(BadConfig) as caught:
        load(folder / "router.yaml", {}, files)
    assert str(folder / name) in str(caught.value)
    assert folder / name in files


def test_the_key_is_not_in_the_text_of_a_config(folder: Path) -> None:
    assert "PRIVATE" not in repr(load(folder / "router.yaml", {}))


def test_the_authorities_that_the_machine_trusts_are_such_a_file_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what a sink without `ca` goes by."""
    authorities = folder / "system.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    authorities.write_bytes(trustme.CA().cert_pem.bytes())
    config = folder / "router.yaml"
    config.write_text(CONFIG.replace("ca: hook.pem, ", "").replace("ca: kafka.pem, ", ""))
    files: set[Path] = set()
    old = load(config, {}, files)
    assert authorities in files
    assert plan(old, load(config, {})).changed == ()
    authorities.write_bytes(trustme.CA().cert_pem.bytes() + b"# more\n")
    assert plan(old, load(config, {})).changed == ("a/hook", "a/kafka")
    authorities.unlink()
    with pytest.raises(BadConfig, match="SSL_CERT_FILE"):
        load(config, {})
