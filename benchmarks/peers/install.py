"""Get what can be had: Benthos, built from its Go module, and Logprep from PyPI: `python -m benchmarks.peers.install`.

Vector and Fluent Bit are found on the PATH, where somebody has put them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.peers.product import INSTALLED

LOGPREP = "logprep==21.1.0"


def main() -> None:
    INSTALLED.mkdir(parents=True, exist_ok=True)
    engine = Path(__file__).parent / "engine"
    subprocess.run(["go", "build", "-trimpath", "-o", str(INSTALLED / "benthos"), "."], cwd=engine, check=True)
    subprocess.run([sys.executable, "-m", "venv", str(INSTALLED / "logprep")], check=True)
    subprocess.run([str(INSTALLED / "logprep" / "bin" / "pip"), "install", "-q", LOGPREP], check=True)


if __name__ == "__main__":
    main()
