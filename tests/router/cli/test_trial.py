"""`router test`: a config's own tests, and a new match tried beside the old one on recorded traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from servers.daemon import Daemon, post, running, text

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


DEPARTMENTS = """
  a:
    accounts: ["*"]
    subscriptions:
      failed: {match: {type: Deliver:SendFailed}, to: {type: file, path: "{out}/failed.jsonl"}}
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


def with_test(**expect: Any) -> str:
    said = {"name": "a refusal", "message": text(1, status=2).decode(), "expect": expect}
    return f"tests: {json.dumps([said])}"


def run(daemon: Daemon, *arguments: str) -> tuple[int, str]:
    done = daemon.cli("test", str(daemon.config), *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("expect", "code", "said"),
    [
        (
            {"subscriptions": ["a/failed", "a/all"], "fields": {"status": 2}},
            0,
            "1 tests, 0 failed",
        ),
        ({"subscriptions": ["a/all"]}, 1, "goes to a/failed, too"),
        ({"fields": {"status": "0"}}, 1, "status is `2`, not `0`"),
        ({"subscriptions": ["a/fialed"]}, 78, "did you mean `a/failed`?"),
        ({"subscription": ["a/failed"]}, 78, "did you mean `subscriptions`?"),
    ],
)
def test_the_tests_of_a_config_say_where_a_message_goes(
    tmp_path: Path, expect: dict[str, Any], code: int, said: str
) -> None:
    daemon = Daemon(tmp_path, DEPARTMENTS, top=with_test(**expect))
    found, shown = run(daemon)
    assert found == code, shown
    assert said in shown


def test_the_test_of_the_full_config_holds(tmp_path: Path) -> None:
    config = Path(__file__).parents[3] / "config" / "full.yaml"
    done = Daemon(tmp_path, DEPARTMENTS).cli("test", str(config), "--json")
    (verdict,) = json.loads(done.stdout)
    assert (done.returncode, verdict["problems"]) == (0, []), done.stdout


async def test_a_new_match_is_compared_with_the_old_on_recorded_traffic(tmp_path: Path) -> None:
    with running(tmp_path, DEPARTMENTS) as daemon:
        await post(daemon.url, range(10), {})
        await post(daemon.url, range(10, 16), {}, status=4)
        await anyio.to_thread.run_sync(daemon.wait_settled)
        old = tmp_path / "old.yaml"
        old.write_text(daemon.config.read_text())
        step = "steps: [{type: mask, fields: [rcpt], key: 0123456789abcdef}], to:"
        changed = old.read_text().replace("match: {type: Deliver:SendFailed}", "match: {env_id: {range: [8, 12]}}")
        daemon.config.write_text(changed.replace("all: {to:", f"all: {{{step}") + "      new: {to: {type: stdout}}\n")
        code, said = run(daemon, "--shadow", str(old), "--json")
        found = {one.pop("subscription"): one for one in json.loads(said)}
        assert code == 0
        assert {
            name: (one["both"], one["changed"], one["only_old"], one["only_new"]) for name, one in found.items()
        } == {
            "a/failed": (3, 0, 3, 2),
            "a/all": (16, 16, 0, 0),
            "a/new": (0, 0, 0, 16),
        }
        assert len(found["a/failed"]["samples"]["only_new"]) == 2
        for name in found["a/all"]["samples"]["changed"]:
            assert daemon.cli("explain", str(daemon.config), name).returncode == 0, "it is the journal's"
        assert "only old" in run(daemon, "--shadow", str(old))[1]
        assert run(daemon, "--shadow", str(old), "--since", "0s", "--json")[0] == 0
        assert run(daemon, "--since", "1h")[0] == 2
        assert run(daemon, "--shadow", str(tmp_path / "none.yaml"))[0] == 78
