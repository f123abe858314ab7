"""Watch a file grow: `python tail.py FILE TIMES`; SIGTERM ends it.

Looks every millisecond, and keeps the number of each result and when it was seen (monotonic seconds), as pairs of
doubles.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from array import array
from pathlib import Path

PAUSE = 0.001
NUMBER = re.compile(rb'env_id(?:=|":"?)(\d+)')


def main() -> None:
    path, times, ended = Path(sys.argv[1]), array("d"), [False]
    signal.signal(signal.SIGTERM, lambda *_: ended.__setitem__(0, True))
    place, rest = 0, b""
    while True:
        last = ended[0]
        if path.exists():
            with path.open("rb") as file:
                file.seek(place)
                new = file.read()
            now = time.monotonic()
            place += len(new)
            whole, _, rest = (rest + new).rpartition(b"\n")
            for number in NUMBER.findall(whole):
                times.extend((int(number), now))
        if last:
            break
        time.sleep(PAUSE)
    Path(sys.argv[2]).write_bytes(times.tobytes())


if __name__ == "__main__":
    main()
