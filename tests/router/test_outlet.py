"""The outlet of the log: nobody who puts a line in waits; what is dropped is counted and said."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from router.outlet import Outlet, Stream


def test_lines_that_find_no_room_are_counted_and_said_as_soon_as_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.outlet.LINES", 10)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    outlet = Outlet(writer)
    began = time.monotonic()
    for number in range(1000):
        outlet.put(f"{number:0400}")
    assert time.monotonic() - began < 5, "nobody waited"
    assert 900 < outlet.dropped < 1000
    with os.fdopen(reader, "rb") as lines:
        drained = threading.Thread(target=lambda: read.extend(lines))
        read: list[bytes] = []
        drained.start()
        outlet.put("one more")
        outlet.close(20)
        os.close(writer)
        drained.join(20)
    numbers = [int(line) for line in read if line[:1] == b"0" and len(line) > 100]
    told = [int(line.split()[0]) for line in read if b"dropped" in line]
    assert numbers == sorted(set(numbers))
    assert sum(told) == outlet.dropped == 1001 - len(numbers) - (read[-1] == b"one more\n")


def test_a_line_that_was_cut_off_by_a_full_disk_does_not_run_into_the_next(tmp_path: Path, monkeypatch: Any) -> None:
    room = [5]

    def write(descriptor: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        size = min(room[0], len(data))
        room[0] -= size
        return real(descriptor, data[:size])

    real = os.write
    file = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    outlet = Outlet(file)
    monkeypatch.setattr("router.outlet.os.write", write)
    outlet.put("first line")
    deadline = time.monotonic() + 10
    while not outlet.dropped and time.monotonic() < deadline:
        time.sleep(0.01)
    room[0] = 1000
    outlet.put("second")
    outlet.close(10)
    os.close(file)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["first", "1 lines of the log were dropped", "second"]


def test_what_is_printed_to_standard_error_goes_out_line_by_line() -> None:
    reader, writer = os.pipe()
    outlet = Outlet(writer)
    print("one\ntwo", "three", file=Stream(outlet, writer))
    outlet.close(10)
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        assert lines.read() == b"one\ntwo three\n"
