"""What is asked over the admin API is understood, or it is said what is wrong with it: never a 500."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from servers.daemon import Daemon

from router.admin.questions import Unclear, decoded, number
from router.hint import unknown_subscription


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    departments = "  d: {accounts: ['*'], subscriptions: {all: {to: {type: stdout}}, audit: {to: {type: stdout}}}}"
    made = Daemon(tmp_path_factory.mktemp("questions"), departments)
    made.start()
    yield made
    made.kill()


def asked(daemon: Daemon, path: str, order: bytes | None = None) -> tuple[int, str]:
    url = f"http://127.0.0.1:{daemon.admin}{path}"
    request = urllib.request.Request(url, order, {"Content-Type": "application/json"} if order is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


NINES = "9" * 5000


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"/dead/d/all?after={10**20}", 400, f"after={10**20} is too large"),
        (f"/dead/d/all?after={NINES}", 400, "too large"),
        ("/dead/d/all?after=-1", 400, "not a number"),
        ("/dead/d/all?after=NaN", 400, "not a number"),
        ("/dead/d/all?after=1e3", 400, "not a number"),
        ("/dead/d/all?after=%D9%A3", 400, "not a number"),
        ("/dead/d/all?after=", 400, "not a number"),
        ("/dead/d/all?after=00007", 200, "[]"),
        (f"/dead/d/all?after={2**63 - 1}", 200, "[]"),
        (f"/dead/d/all?limit={NINES}", 400, "too large"),
        (f"/dead/d/all/{NINES}", 400, "too large"),
        (f"/dead/d/all/{2**63 - 1}", 409, "no dead letter"),
        ("/dead/d/all/0", 409, "no dead letter"),
        (f"/explain?key=x&limit={NINES}", 400, "too large"),
        (f"/dead/d/all?choose={'[' * 20_000}", 400, "choose"),
        ("/dead/d/all?choose=%FF", 400, "choose"),
        ("/dead/all", 404, "did you mean `d/all`?"),
        ("/dead/d/al", 409, "did you mean `d/all`?"),
        ("/dead/d", 404, "known: d/all, d/audit"),
        ("/replays/audit", 404, "did you mean `d/audit`?"),
        ("/pause/d/all", 405, "POST"),
        ("/reload", 405, "POST"),
        ("/stats", 404, "did you mean `status`?"),
    ],
)
def test_a_question_that_is_wrong_is_answered_with_what_is_wrong(
    daemon: Daemon, path: str, status: int, said: str
) -> None:
    code, text = asked(daemon, path)
    assert code == status, text
    assert said in text


def deep(levels: int) -> dict[str, object]:
    made: dict[str, object] = {"region": "x"}
    for _ in range(levels):
        made = {"not": made}
    return made


@pytest.mark.parametrize(
    ("path", "order", "said"),
    [
        ("/replays/d/all", json.dumps({"since": 0, "match": deep(500)}).encode(), "nested more than 64 levels deep"),
        ("/dead/d/all/replay", json.dumps({"choice": {"match": deep(65)}}).encode(), "nested more than 64 levels deep"),
        ("/replays/d/all", b'{"since": 0, "match": ' + b"[" * 100_000, "the order"),
        ("/replays/d/all", b'{"since": 0, "match": ' + b'{"a":' * 100_000, "nested"),
        ("/reload", b"[" * 100_000, "the order"),
        ("/reload", b"\xff", "the order"),
        ("/replays/d/all", b'{"since": %s}' % NINES.encode(), "since"),
        ("/replays/d/all/stop", b'{"number": %s}' % NINES.encode(), "number"),
        ("/replays/d/all", b'{"since": 0, "per_second": -1}', "never end"),
        ("/pause/al", b"{}", "did you mean `d/all`?"),
    ],
)
def test_an_order_that_is_wrong_is_answered_with_what_is_wrong(
    daemon: Daemon, path: str, order: bytes, said: str
) -> None:
    code, text = asked(daemon, path, order)
    assert 400 <= code < 500, text
    assert said in text


def test_no_question_of_these_is_an_error_in_the_log(daemon: Daemon) -> None:
    assert "Traceback" not in (daemon.folder / "router.log").read_text()


def test_a_number_is_read_exactly_up_to_the_largest() -> None:
    assert number({"n": str(2**63 - 1)}, "n", 0) == 2**63 - 1
    assert number({}, "n", 5) == 5
    with pytest.raises(Unclear):
        number({"n": str(2**63)}, "n", 0)
    with pytest.raises(Unclear):
        decoded(b"{", dict[str, int], "the order")


def test_the_nearest_subscription_is_found_by_either_word() -> None:
    known = ["sales/resend", "sales/archive", "ops/alerts"]
    for name in ("resend", "sales/resnd", "Sales/Resend", "ops", "ops/resend", "alert", "sales/archiv"):
        wanted = {"ops": "ops/alerts", "ops/resend": "sales/resend", "alert": "ops/alerts"}.get(name, "sales/")
        assert f"did you mean `{wanted}" in unknown_subscription(name, known)
    assert unknown_subscription("", []) == "no subscription ``"
