"""`router doctor push`: what a proxy changed of a push, found from a captured one alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.mns_pushes import CERTIFICATE, PUSHES, push
from typer.testing import CliRunner

from router import Secret, harmless
from router.cli.app import build
from router_plugins.mns.captured import captured
from router_plugins.mns.push import MnsPush


def examined(request: bytes, **fields: Any) -> tuple[bool, str]:
    source = MnsPush(**{"listen": "127.0.0.1:0", "certificate": CERTIFICATE, **fields})
    taken, lines = source.examine(request)
    return taken, "\n".join(lines)


def raw(vector: dict[str, Any]) -> bytes:
    headers = {**vector["headers"], "Authorization": vector["authorization"]}
    lines = [f"POST {vector['path']} HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", vector["body"]]).encode()


@pytest.mark.parametrize("vector", PUSHES, ids=lambda vector: vector["name"])
def test_pushes_of_the_official_signer_are_right_and_the_text_that_was_signed_is_shown(vector: dict[str, Any]) -> None:
    taken, said = examined(raw(vector), path=Secret(vector["path"]))
    assert "signature       right" in said
    assert taken
    for line in vector["string_to_sign"].split("\n"):
        assert f"\n    {line}" in said


def test_a_capture_with_other_line_ends_or_noise_is_read() -> None:
    request = push()
    head, _, body = request.partition(b"\r\n\r\n")
    quoted = b"* Connected\n" + b"".join(b"> " + line + b"\n" for line in head.split(b"\r\n")) + b">\n" + body
    dumped = b"12:00:01.5 IP 1.2.3.4.5 > 6.7.8.9.80: Flags [P.]\nE..4..@.@.....P." + request + b"\n12:00:02 IP ...\n"
    for form in (request, request.replace(b"\r\n", b"\n"), quoted, dumped, request + b"\n"):
        taken, said = examined(form)
        assert taken, said
    chunked = (
        head.replace(b"Content-Length: 31", b"Transfer-Encoding: chunked") + b"\r\n\r\n1f\r\n" + body + b"\r\n0\r\n\r\n"
    )
    assert examined(chunked)[0]


def test_a_whole_url_as_target_is_read_as_the_listener_does() -> None:
    assert examined(push().replace(b"/notifications", b"http://router.example:80/notifications", 1))[0]


def test_of_another_kind_of_push_it_says_that_it_is_not_examined() -> None:
    taken, said = examined(push(unsigned={"x-eventbridge-signature-version": "1.0"}))
    assert (taken, "EventBridge" in said) == (False, True)


TYPE = b"text/plain;charset=utf-8"
FOUND = {
    "a proxy put 1 part(s) in front of the path": (push().replace(b"/notif", b"/api/notif", 1), "/api/notifications"),
    "`/notifications` was signed: set `signed_path`": (push().replace(b"/notifications", b"/inner", 1), "/inner"),
    "a proxy added a query": (push().replace(b"/notifications", b"/notifications?a=1", 1), "/notifications"),
    "the slash at the end": (push().replace(b"/notifications", b"/notifications/", 1), "/notifications/"),
    "signed was `text/plain;charset=utf-8`": (push().replace(TYPE, b"text/plain; charset=UTF-8"), "/notifications"),
    "Content-Type stands 2 times": (push().replace(TYPE, TYPE + b"\r\nContent-Type: text/html"), "/notifications"),
    "Content-Type is missing": (push().replace(b"content-type: " + TYPE + b"\r\n", b""), "/notifications"),
    "Authorization is missing": (push(unsigned={"authorization": ""}), "/notifications"),
    "Content-md5 was changed or dropped": (push(unsigned={"content-md5": ""}), "/notifications"),
    "x-mns-via was added on the way": (push(unsigned={"x-mns-via": "1"}), "/notifications"),
    "there are two Dates": (
        push().replace(b"\r\ndate", b"\r\nDate: Tue, 01 Dec 2026 01:00:00 GMT\r\ndate"),
        "/notifications",
    ),
    "Content-md5 is not that of the body": (push().replace(b"status=0", b"status=4"), "/notifications"),
    "pushes are POST": (push().replace(b"POST", b"GET"), "/notifications"),
    "the listener's `path` is another one": (push(), "/elsewhere"),
    "it would be right if: a proxy added a query, and x-mns-via was added": (
        push(unsigned={"x-mns-via": "1"}).replace(b"/notifications", b"/notifications?a=1", 1),
        "/notifications",
    ),
    "the file has 30 of 31 bytes": (push()[:-1], "/notifications"),
}


@pytest.mark.parametrize(("text", "request_", "path"), [(text, *rest) for text, rest in FOUND.items()])
def test_what_was_changed_on_the_way_is_found(text: str, request_: bytes, path: str) -> None:
    taken, said = examined(request_, path=Secret(path))
    assert text in said
    assert not taken


def test_with_the_right_signed_path_all_is_well_and_with_a_wrong_one_it_is_said() -> None:
    request = push(target="/notifications?a=1").replace(b"/notifications", b"/inner", 1)
    assert examined(request, path=Secret("/inner"), signed_path="/notifications")[0]
    taken, said = examined(push(), signed_path="/other")
    assert not taken
    assert "`signed_path` is taken out of the config" in said


def test_without_a_certificate_it_says_where_the_right_one_is_and_fetches_nothing() -> None:
    _, said = examined(push(), certificate=None)
    assert "signature       not checked" in said
    assert "curl -fo push.pem https://mnstest.oss-cn-hangzhou.aliyuncs.com/x509_public_certificate.pem" in said
    taken, said = examined(push(url="https://evil.example/x.pem"), certificate=None)
    assert (taken, "not one of `certificate_urls`" in said) == (False, True)


def test_a_topic_that_is_not_wanted_is_said() -> None:
    assert "is not one of `topics`" in examined(push(), topics=("acs:mns:cn-hangzhou:*:topics/x-*",))[1]


@given(
    st.one_of(st.binary(), st.binary().map(lambda noise: push().replace(b"x-mns-version", noise + b"\nx-mns-version")))
)
def test_whatever_was_captured_is_read_or_refused_and_shown_harmlessly(noise: bytes) -> None:
    try:
        captured(noise)
    except ValueError:
        return
    _, said = examined(noise)
    assert all(harmless(line) == line for line in said.split("\n"))


def test_the_command_tells_by_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["router", "doctor"])
    good, config = tmp_path / "good.http", tmp_path / "router.yaml"
    good.write_bytes(push())
    config.write_text(
        f"""
sources:
  push: {{type: mns_push, listen: "127.0.0.1:0", certificate: {CERTIFICATE}}}
departments: {{a: {{accounts: ["*"], subscriptions: {{all: {{to: {{type: stdout}}}}}}}}}}
"""
    )

    def run(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(build("doctor"), ["doctor", "push", *map(str, words)])
        return result.exit_code, result.output + str(result.exception or "")

    assert run(good, config)[0] == 0
    assert run(good, "--certificate", CERTIFICATE)[0] == 0
    assert run(good, config, "--signed-path", "/x")[0] == 1
    assert "there is no source `pusj`" in run(good, config, "--source", "pusj")[1]
    assert "there is no request line" in run(config, config)[1]
    hostile = tmp_path / "hostile.http"
    hostile.write_bytes(push().replace(b"x-mns-version: ", b"x-mns-a: \x1b[2J\xc2\x9b31m\r\nx-mns-version: "))
    shown = run(hostile, config)[1]
    assert not {"\x1b", "\x9b"} & set(shown)
