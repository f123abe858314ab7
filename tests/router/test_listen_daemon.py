"""The daemon with a source that listens at several addresses: with fronts, and while a reload adds and takes some."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest
from servers.daemon import Daemon, free_port, running, text

DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


def posted(host: str, port: int, number: int) -> int:
    with urllib.request.urlopen(f"http://{host}:{port}/n", text(number), timeout=10) as answer:
        return int(answer.status)


def listen(daemon: Daemon, before: str, after: str) -> None:
    config = daemon.config.read_text()
    assert f"listen: {before}," in config
    daemon.config.write_text(config.replace(f"listen: {before},", f"listen: {after},"))
    done = daemon.cli("reload", str(daemon.config))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_addresses_come_and_go_with_a_reload(tmp_path: Path, workers: int) -> None:
    with running(tmp_path, DEPARTMENTS, push=f"workers: {workers}") as daemon:
        first, second = f"127.0.0.1:{daemon.push}", free_port()
        assert posted("127.0.0.1", daemon.push, 1) == 204
        listen(daemon, first, f'["{first}", "[::1]:{second}"]')
        assert [posted("127.0.0.1", daemon.push, 2), posted("[::1]", second, 3)] == [204, 204]
        listen(daemon, f'["{first}", "[::1]:{second}"]', f'"[::]:{second}"')
        assert [posted("127.0.0.1", second, 4), posted("[::1]", second, 5)] == [204, 204]
        with pytest.raises(URLError):
            posted("127.0.0.1", daemon.push, 6)
        listen(daemon, f'"[::]:{second}"', f'["[::]:{second}", "0.0.0.0:{second}"]')
        assert [posted("127.0.0.1", second, 7), posted("[::1]", second, 8)] == [204, 204]
        listen(daemon, f'["[::]:{second}", "0.0.0.0:{second}"]', f'"[::]:{second}"')
        assert [posted("127.0.0.1", second, 9), posted("[::1]", second, 10)] == [204, 204]
        daemon.wait_settled()
        assert daemon.stop() == 0
        assert sorted(int(line["env_id"]) for line in daemon.lines("*.jsonl")) == [1, 2, 3, 4, 5, 7, 8, 9, 10]


def test_addresses_that_clash_are_refused_with_their_place(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, DEPARTMENTS)
    config = daemon.config.read_text()
    for listen_, found in {
        f'["127.0.0.1:{daemon.admin}"]': "admin listens on",
        f'["127.0.0.1:{daemon.push}", "127.0.0.1:{daemon.push}"]': "stands twice",
        f'["127.0.0.1:{daemon.push}", "0.0.0.0:{daemon.push}"]': "listens on",
        f'["127.0.0.1:{daemon.push}", "[::]:{daemon.push}"]': "listens on",
    }.items():
        daemon.config.write_text(config.replace(f"listen: 127.0.0.1:{daemon.push}", f"listen: {listen_}"))
        done = daemon.cli("check", str(daemon.config))
        assert (done.returncode, found in done.stderr) == (78, True), done.stderr
        assert "sources.push.listen" in done.stderr
