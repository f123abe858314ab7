"""P8. A bad config never runs: every mistake at once, with file, line and the likely fix, exit code 78."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BAD = """\
sources:
  push: {type: mns_push, listn: 127.0.0.1:0}
departments:
  a:
    acounts: ["*"]
    subscriptions:
      x:
        match: {typ: Deliver:SendFailed, type: Deliver:SendFaild}
        to: {type: webhok, url: http://127.0.0.1}
      y:
        delivery: {in_flight: many}
"""
FOUND = {
    2: ["`listen`"], 5: ["`accounts`"], 8: ["`type`", "Deliver:SendFailed"], 9: ["webhook"], 11: ["in_flight"],
}  # fmt: skip
"""Lines, and what the message there must say."""


@pytest.mark.parametrize("command", ["check", "run"])
def test_every_mistake_is_said_at_once_with_its_line_and_the_likely_fix(tmp_path: Path, command: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "router", command, str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 78
    for line, words in FOUND.items():
        said = [text for text in done.stderr.splitlines() if f"bad.yaml:{line}:" in text]
        for word in words:
            assert any(word in text for text in said), f"line {line} lacks {word}: {done.stderr}"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "state").exists()
