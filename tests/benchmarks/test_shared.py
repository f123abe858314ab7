"""What all benchmarks stand on: the ledger, the load, signed pushes, two revisions, tables."""

from __future__ import annotations

import re
import socket
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from benchmarks import plot, results
from benchmarks.ledger import Ledger, numbers_in, reconcile
from benchmarks.load import CLOSED, closed, open_loop
from benchmarks.messages import SignedPushes, body, plain
from benchmarks.process import free_port
from benchmarks.question import Benchmark, Column, Ground
from benchmarks.results import Result
from benchmarks.rounds import measure
from benchmarks.tables import changes, table
from benchmarks.tree import checked_out, git
from router_plugins.mns.certificate import key_of
from router_plugins.mns.verification import Judge, KeySource, Refused


def test_the_ledger_tells_what_is_lost_and_what_came_twice() -> None:
    assert reconcile([1, 2, 3], [[1, 3, 3, 9], [3, 2, 1]]) == Ledger(lost=1, twice=1, lines=7)


def test_the_ledger_finds_a_result_in_every_form(tmp_path: Path) -> None:
    forms = [body(1), b'{"env_id":"0000000002"}', b'{"env_id": 3}', b"env_id%3D4"]
    (tmp_path / "out").write_bytes(b"\n".join(forms))
    assert numbers_in(tmp_path / "out") == [1, 2, 3, 4]
    assert numbers_in(tmp_path / "nothing") == []


class Server:
    """Answers each request with the next of its answers, then with 204; an empty one closes the connection at once."""

    def __init__(self, *answers: bytes, pause: float = 0.0) -> None:
        self.answers = list(answers)
        self.pause = pause
        self.bodies: list[bytes] = []

    def serve(self, connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(65536):
                self.bodies.append(data)
                time.sleep(self.pause)
                answer = self.answers.pop(0) if self.answers else b"HTTP/1.1 204 No Content\r\n\r\n"
                if not answer:
                    return
                for part in answer.split(b"|"):
                    connection.sendall(part)
                    time.sleep(0.01)
                if b"Connection: close" in answer:
                    return


@contextmanager
def served(server: Server) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_load_counts_each_answer_by_its_status() -> None:
    unavailable = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|2\r\nok\r\n|0\r\n\r\n"
    server = Server(unavailable, b"", chunked)
    with served(server) as address:
        answers = closed(address, plain("/n"), connections=1, seconds=5, most=6)
    assert answers.refused == {503: 1, CLOSED: 1}
    assert list(answers.numbers) == [3, 4, 5, 6]
    assert [data.partition(b"\r\n\r\n")[2] for data in server.bodies] == [body(n) for n in range(1, 7)]


def test_a_load_ends_with_its_server_only_where_that_is_expected() -> None:
    server = Server(b"")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_once() -> None:
            connection, _ = listener.accept()
            listener.close()
            server.serve(connection)

        thread = threading.Thread(target=serve_once)
        thread.start()
        answers = closed(listener.getsockname(), plain("/n"), connections=1, seconds=30, until_gone=True)
        thread.join()
    assert answers.refused == {CLOSED: 1}
    with pytest.raises(ConnectionRefusedError):
        closed(("127.0.0.1", free_port()), plain("/n"), connections=1, seconds=1)


def test_an_open_load_counts_from_when_a_request_was_due() -> None:
    with served(Server(pause=0.05)) as address:
        answers = open_loop(address, plain("/n"), rate=200, seconds=0.1, connections=1)
    assert list(answers.numbers) == list(range(1, 21))
    # One connection takes 20 requests one after the other in a second; the last was due after a tenth of it.
    assert answers.milliseconds(1.0) > 20 * 50 - 100
    assert min(answers.seconds) * 1000 < 20 * 50 / 2


def test_an_open_load_does_not_count_connections_that_are_closed_while_nothing_is_asked() -> None:
    class Curt(Server):
        def serve(self, connection: socket.socket) -> None:
            with connection:
                if connection.recv(65536):
                    connection.sendall(b"HTTP/1.1 204 No\r\n\r\n")

    with served(Curt()) as address:
        answers = open_loop(address, plain("/n"), rate=50, seconds=0.4, connections=8)
    # A request may yet meet a connection that is just being closed; each of the twenty counts once all the same.
    assert len(answers.numbers) + answers.refused.total() == 20


def test_signed_pushes_pass_the_routers_own_check(tmp_path: Path) -> None:
    pushes = SignedPushes(tmp_path, "/n")
    make = SignedPushes(tmp_path, "/n").request(3)
    key = key_of(load_pem_x509_certificate(pushes.certificate.read_bytes()))
    keys = KeySource(key, None, None)  # type: ignore[arg-type]  # a pinned key needs neither
    judge = Judge(keys, None, 0.0)
    head, _, text = make(2).partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    assert judge.verdict(b"/n", headers, text, time.time()) is None
    assert text == body(2)
    assert isinstance(judge.verdict(b"/n", headers | {b"x-mns-message-id": b"1"}, text, time.time()), Refused)
    assert pushes.request(2)(2) == make(2)


def asked(measured: list[str]) -> Benchmark:
    """Return a benchmark that notes which tree it was run with, and measures how often."""

    def once(case: int, ground: Ground) -> dict[str, float]:
        measured.append(ground.tree.name)
        assert ground.folder.is_dir()
        assert not list(ground.folder.iterdir())
        (ground.folder / "left").touch()
        return {"size": case * len(measured), "lost": 1}

    return Benchmark(
        question="How much?",
        how="Counting.",
        columns=(Column("size", 1), Column("lost", total=True), Column("unused")),
        arguments=lambda _: None,
        cases=lambda _: {"one": 1, "ten": 10},
        measure=once,
        tiny="",
    )


def test_two_revisions_are_measured_alternately() -> None:
    measured: list[str] = []
    with checked_out("HEAD") as old:
        assert (old.root / "router" / "__init__.py").exists()
        new = old._replace(name="new")
        found = measure(asked(measured), Namespace(rounds=2, case="one"), [old, new], tell=lambda _: None)
    assert measured == [old.name, "new", "new", old.name]
    assert found == {
        old.name: {"one": {"size": [1, 4], "lost": [1, 1]}},
        "new": {"one": {"size": [2, 3], "lost": [1, 1]}},
    }
    assert not old.root.exists()
    assert str(old.root) not in git("worktree", "list")
    assert re.search(
        r"size +\| 2.5 \(1.0 to 4.0\) \| 2.5 \(2.0 to 3.0\) \| \+37.5%", changes(asked([]).columns, found)[2]
    )


def test_a_table_has_median_and_range_and_adds_up_losses() -> None:
    lines = table(asked([]).columns, {"one": {"size": [3, 1, 2], "lost": [0, 2, 0]}, "two": {"size": [5]}})
    assert lines == [
        "|     | size             | lost |",
        "|-----|------------------|------|",
        "| one | 2.0 (1.0 to 3.0) | 2    |",
        "| two | 5.0 (5.0 to 5.0) | -    |",
    ]


def test_the_readme_gets_its_tables_from_the_results() -> None:
    result = Result("How much?", "Counting.", ["a machine"], [Column("size")], {"one": {"size": [1.0]}}, ["a note"])
    text = results.rendered("before\n<!-- result x -->\nold\n<!-- end -->\nafter\n", {"x": result, "y": result})
    assert text.startswith("before\n<!-- result x -->\n## How much?\n\nCounting.\n\n|     | size")
    assert "old" not in text
    assert text.count("a note") == text.count("a machine") == 2
    assert "<!-- end -->\nafter\n\n<!-- result y -->\n" in text
    assert results.rendered(text, {"x": result, "y": result}) == text


def test_the_readme_shows_the_kept_results() -> None:
    text = results.README.read_text()
    assert results.rendered(text, results.kept()) == text


def test_the_plot_has_a_bar_for_each_product() -> None:
    cases = {"1 file: router": {"results/s through": [10.0, 30.0]}, "1 file: other": {"results/s through": [5.0]}}
    drawn = plot.svg(plot.bars({"peers": Result("", "", [], [], cases, [])}), "Title")
    assert re.findall(r">([^<>]*)</text>", drawn) == [
        "Title", "1 file", "router", "20 (10 to 30)", "other", "5 (5 to 5)"
    ]  # fmt: skip
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="18"', drawn)]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.01)
