"""A front that has all its batches ready made: `simulated_front.py FOLDER CORE SECONDS BATCH OUT`.

It says what a front says, and sends batches of BATCH events, each with an id and a number of its own, with OUT of them
unanswered, for SECONDS from when there is a file `go` in FOLDER. Then it writes `sent.json` there: how many events were
answered, in which time, and its own CPU time.
"""

import json
import os
import pickle
import socket
import sys
import time
from itertools import count
from pathlib import Path

from router.event import Event, Message
from router.fronts.wire import Done, Hello, Ready, pack, read_hello, read_order, say
from router.intake import decoded

FIRST = 9_000_000_000
"""Numbers of ten digits that stand nowhere else in a frame."""
NUMBERED = 2**32
"""Batches are numbered from here, so that a number always takes nine bytes."""


class Link:
    def __init__(self) -> None:
        self.sock = socket.socket(fileno=0)
        self._rest = b""

    def send(self, frame: bytes | bytearray) -> None:
        self.sock.sendall(len(frame).to_bytes(4, "big"))
        self.sock.sendall(frame)

    def frames(self) -> list[bytes]:
        """Wait for something, and return the whole frames of it."""
        data = self.sock.recv(65536)
        if not data:
            os._exit(1)
        data, found = self._rest + data, []
        while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4], "big")):
            found.append(data[4:end])
            data = data[end:]
        self._rest = data
        return found


class Template:
    """The frame of one batch, and where in it ids and numbers stand."""

    def __init__(self, events: list[Event], numbers: list[int]) -> None:
        self.frame = bytearray(pack(NUMBERED, events))
        self.number_at = self.frame.index(NUMBERED.to_bytes(8, "big"))
        self.ids = [places(self.frame, event.id.encode()) for event in events]
        self.numbers = [places(self.frame, b"%010d" % number) for number in numbers]

    def fill(self, batch: int, first: int) -> bytearray:
        frame = self.frame
        frame[self.number_at : self.number_at + 8] = (NUMBERED + batch).to_bytes(8, "big")
        for number, ids, numbers in zip(count(first), self.ids, self.numbers):
            name, digits = b"%032x" % number, b"%010d" % number
            for at in ids:
                frame[at : at + 32] = name
            for at in numbers:
                frame[at : at + 10] = digits
        return frame


def places(frame: bytearray, text: bytes) -> list[int]:
    found = [frame.find(text)]
    while (at := frame.find(text, found[-1] + 1)) >= 0:
        found.append(at)
    return found


def template(hello: Hello, size: int, text: str) -> Template:
    _, decoder = pickle.loads(hello.plugins)
    numbers = list(range(FIRST, FIRST + size))
    messages = [Message(text.replace("##########", f"{n:010d}").encode(), time.time()) for n in numbers]
    events, unknown = decoded(decoder, hello.source, messages)
    assert not unknown
    return Template(list(events), numbers)


def main() -> None:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[3])
    core, size, out = int(sys.argv[2]), int(sys.argv[4]), int(sys.argv[5])
    os.sched_setaffinity(0, {core})
    link = Link()
    (first,) = link.frames()
    made = template(read_hello(first), size, (folder / "text").read_text())
    link.send(say(Ready()))
    while not (folder / "go").exists():
        time.sleep(0.01)
    sent = answered = 0
    began, used = time.monotonic(), time.process_time()
    while answered < sent or time.monotonic() < began + seconds:
        while sent - answered < out and time.monotonic() < began + seconds:
            link.send(made.fill(sent, 1 + sent * size))
            sent += 1
        for frame in link.frames():
            said = read_order(frame)
            assert isinstance(said, Done), said
            answered += len(said.numbers)
    took, cpu = time.monotonic() - began, time.process_time() - used
    (folder / "sent.part").write_text(json.dumps({"events": answered * size, "seconds": took, "cpu": cpu}))
    (folder / "sent.part").rename(folder / "sent.json")
    link.frames()  # the word to stop


main()
