"""The README is true: its blocks run, its links lead somewhere, and it names every promise's tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from router.config import loads

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, heading: str = "") -> list[str]:
    text = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0] if heading else README
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_the_two_commands_are_one_block_of_one_line_each(heading: str) -> None:
    (block,) = blocks("sh", heading)
    assert block.count("\n") == 1


def test_the_demo_runs_as_the_readme_says() -> None:
    """Its last command, with the environment that this test runs in and fewer results."""
    (block,) = blocks("sh", "Run it")
    *_, install, demo = block.strip().split(" && ")
    assert install == ".venv/bin/pip install -q -e ."
    assert demo == ".venv/bin/router demo"
    done = subprocess.run(
        [sys.executable, "-m", "router", *demo.split()[1:], "--results", "300"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "ok" in done.stdout


def test_the_test_line_runs_these_tests() -> None:
    (block,) = blocks("sh", "Test it")
    assert block.strip().endswith("&& .venv/bin/pytest -q")


def test_the_yaml_of_the_readme_is_a_good_config(tmp_path: Path) -> None:
    found = blocks("yaml")
    assert found
    for text in found:
        loads(text, "README.md", tmp_path, {**os.environ, "PUSH_SECRET": "x"})


def test_the_minimal_config_is_the_one_in_the_readme() -> None:
    (text,) = blocks("yaml")
    example = (ROOT / "config" / "minimal.yaml").read_text()
    assert text in re.sub(r"^#.*\n", "", example, flags=re.MULTILINE)


def test_links_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(targets) > 5
    assert not [t for t in targets if not (ROOT / t).exists()]


def test_every_promise_test_is_linked_and_every_command_is_named() -> None:
    for path in (ROOT / "tests" / "promises").glob("test_*.py"):
        assert path.name in README
    shown = subprocess.run(
        [sys.executable, "-m", "router", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in re.findall(r"^│ (\w+) ", shown, re.MULTILINE) or pytest.fail(shown):
        assert re.search(rf"`router (\w+\\\|)*{command}\b", README), command
