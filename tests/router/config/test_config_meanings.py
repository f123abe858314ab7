"""Names of fields and paths of files are checked wherever they stand, before anything runs."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from router.config import BadConfig, Config, load
from router.config.moment import moment
from router_plugins.directmail.moments import zone_of

HEAD = """\
sources:
  push: {type: mns_push, listen: "127.0.0.1:8080", path: /notifications/a}
  log: {type: file, path: in/backlog.txt}
departments:
  a:
    accounts: ["*"]
    subscriptions:
"""
KEY = "aaaaaaaaaaaaaaaaaaaa"
KAFKA = "type: kafka, servers: ['a:1']"

Load = Callable[..., Config]


@pytest.fixture
def load_all(tmp_path: Path) -> Load:
    def make(*subscriptions: str, tail: str = "") -> Config:
        file = tmp_path / "c.yaml"
        file.write_text(HEAD + "".join(f"      s{i}: {{{s}}}\n" for i, s in enumerate(subscriptions)) + tail)
        return load(file, {})

    return make


@pytest.mark.parametrize(
    ("subscription", "place", "hint"),
    [
        (
            f"steps: [{{type: mask, fields: [recipient], key: {KEY}}}], to: {{type: stdout}}",
            "steps[0].fields[0]",
            "rcpt",
        ),
        (f"steps: [{{type: mask, fields: [x_campaign], key: {KEY}}}], to: {{type: stdout}}", "fields[0]", "extra.NAME"),
        ("to: {type: file, path: 'a/{recipient}.jsonl'}", "to.path", "`rcpt`"),
        ("to: {type: file, path: 'a/{time:%Y}/{Region}.jsonl'}", "to.path", "`region`"),
        (f"to: {{{KAFKA}, topic: 'mail.{{regoin}}'}}", "to.topic", "`region`"),
        (f"to: {{{KAFKA}, topic: m, key: recipient}}", "to.key", "`rcpt`"),
        (f"to: {{{KAFKA}, topic: m, key: '{{rcpt}}'}}", "to.key", "`rcpt`"),
        ("to: {type: stdout}, delivery: {ordered: true, key: rctp}", "delivery.key", "`rcpt`"),
        ("to: {type: webhook, url: 'http://x/{region}'}", "to.url", "%7B"),
        ("match: {source: pusj}, to: {type: stdout}", "match.source", "`push`"),
        ("match: {err_code: 0550}, to: {type: stdout}", "match.err_code", "`550`"),
    ],
)
def test_a_name_that_no_event_has_is_a_mistake_where_it_stands(
    subscription: str, place: str, hint: str, load_all: Load
) -> None:
    with pytest.raises(BadConfig) as raised:
        load_all(subscription)
    [found] = raised.value.problems
    assert found.place.endswith(place)
    assert hint in found.hint
    assert found.line == 8


@pytest.mark.parametrize(
    ("fields", "hint"), [("recipient: x", "`rcpt`"), ("status: failed", "`4`"), ("region: CN-HANGZHOU", "cn-hangzhou")]
)
def test_what_a_test_expects_is_checked(fields: str, hint: str, load_all: Load) -> None:
    tail = f"tests: [{{name: t, message: m, expect: {{fields: {{{fields}}}}}}}]\n"
    with pytest.raises(BadConfig) as raised:
        load_all("to: {type: stdout}", tail=tail)
    assert hint in raised.value.problems[0].hint


def test_names_of_what_the_decoder_does_not_know_are_taken_everywhere(load_all: Load) -> None:
    load_all(
        f"steps: [{{type: mask, fields: [extra.name], key: {KEY}}}], to: {{type: file, path: '{{extra.name}}.jsonl'}}",
        f"to: {{{KAFKA}, topic: 'm.{{extra.name}}', key: extra.name}}, delivery: {{ordered: true, key: extra.name}}",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.jsonl", "./x/../a.jsonl"),
        ("a.jsonl", "ABSOLUTE/a.jsonl"),
        ("d/a.jsonl", "link/a.jsonl"),
        ("d/one", "d/two"),
        ("d/{region}.jsonl", "link/./{region}.jsonl"),
        ("x.jsonl", "./in/backlog.txt"),
        ("x.jsonl", "in/{region}.txt"),
        ("x.jsonl", "state/journal.db"),
        ("x.jsonl", "./state/journal.db-wal"),
        ("x.jsonl", "state/lock"),
        ("x.jsonl", "state/journal.head"),
        ("x.jsonl", "state/journal.lost.1"),
        ("x.jsonl", "in/backlog.txt.position"),
        ("x.jsonl", "state/{region}"),
        ("x.jsonl", "c.yaml"),
    ],
)
def test_two_on_one_file_are_refused(one: str, other: str, load_all: Load, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "d" / "one").touch()
    (tmp_path / "d" / "two").hardlink_to(tmp_path / "d" / "one")
    sinks = [f"to: {{type: file, path: '{path}'}}" for path in (one, other.replace("ABSOLUTE", str(tmp_path)))]
    with pytest.raises(BadConfig) as raised:
        load_all(*sinks)
    [found] = raised.value.problems
    assert (found.line, found.place) == (9, "departments.a.subscriptions.s1.to.path")


def test_files_beside_each_other_and_devices_are_nobodys(load_all: Load) -> None:
    paths = ("a.jsonl", "b.jsonl", "d/{region}.jsonl", "d/{account}.jsonl", "/dev/null", "/dev/null", "state/a.jsonl")
    load_all(*[f"to: {{type: file, path: '{path}'}}" for path in paths])


def test_relative_paths_begin_in_the_folder_of_the_config(
    load_all: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_all("to: {type: file, path: out/a.jsonl}")
    paths = (config.departments["a"].subscriptions["s0"].to, config.sources["log"])
    assert [getattr(one, "path", "") for one in paths] == [f"{tmp_path}/out/a.jsonl", f"{tmp_path}/in/backlog.txt"]
    assert config.state == f"{tmp_path}/state"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xef\xbb\xbfMfKQ9r8GKYqrTwjUPD8I\n", "MfKQ9r8GKYqrTwjUPD8I"),
        (b"MfKQ9r8GKYqrTwjUPD8I\r\n", "MfKQ9r8GKYqrTwjUPD8I"),
        (b"MfKQ9r8GKYqrTwjUPD8I\n\n", "more than one line"),
        (b"MfKQ9r8G\nKYqrTwjUPD8I", "more than one line"),
        (b"MfKQ\0", "character 5 is a control character"),
        (None, "a pipe"),
    ],
)
def test_a_secret_is_one_line_of_a_file(content: bytes | None, found: str, load_all: Load, tmp_path: Path) -> None:
    if content is None:
        os.mkfifo(tmp_path / "key")
    else:
        (tmp_path / "key").write_bytes(content)
    subscription = "to: {type: webhook, url: http://x, secret: {file: key}}"
    if " " not in found:
        sink = load_all(subscription).departments["a"].subscriptions["s0"].to
        assert str(getattr(sink, "secret", "")) == found
        return
    with pytest.raises(BadConfig, match=found) as raised:
        load_all(subscription)
    assert raised.value.problems[0].place.endswith("secret.file")


def test_a_short_secret_does_not_eat_the_letters_of_a_message(load_all: Load) -> None:
    with pytest.raises(BadConfig) as raised:
        load_all("to: {type: webhook, url: http://x, headers: {'b ad header': b}}")
    assert raised.value.problems[0].problem == "'b ad header' is no name of a header"


def test_times_without_a_zone_are_in_the_decoders(load_all: Load) -> None:
    zone = load_all("to: {type: stdout}").decoder.zone()
    assert zone == zone_of("+08:00").tz
    assert moment("2026-11-24T08:00", 0, zone) == moment("2026-11-24T00:00Z", 0)


@pytest.mark.parametrize("line", ["key: value", "# a comment", "- [1, 2, 3]", "[" * 20 + "]" * 20])
def test_a_file_that_is_much_too_long_is_refused_at_once(line: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"{line}\n" * 100_000)
    begun = time.process_time()
    with pytest.raises(BadConfig, match="more than 30,000 lines"):
        load(file, {})
    assert time.process_time() - begun < 1


def test_of_very_many_mistakes_the_first_ones_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("".join(f"key{i}: 1\n" for i in range(2_000)))
    with pytest.raises(BadConfig) as raised:
        load(file, {})
    assert len(raised.value.problems) == 201
    assert "1,802 mistakes more" in raised.value.problems[-1].problem


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("b:\n  <<: *x", (2, 7), "write the keys out"),
        ("b:\n  <<: {c: 1}", (2, 3), "write the keys out"),
        ("accounts: [*]", (1, 13), "`*` or `&` needs quotes"),
        ("m: {rcpt: *@qq.com}", (1, 11), "in quotes"),
        ("path: {region}.jsonl", (1, 15), '"{region}.jsonl"'),
        ("m: {url: a: b}", (1, 11), "`: ` needs quotes"),
        ("a: > 500", (1, 6), "`>` or `|` needs quotes"),
        ("a: 'it's'", (1, 8), "doubled"),
    ],
)
def test_what_yaml_takes_for_something_else_gets_its_hint(
    text: str, place: tuple[int, int], hint: str, tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(BadConfig) as raised:
        load(file, {})
    [found] = raised.value.problems
    assert (found.line, found.column) == place
    assert hint in found.hint


STEP = """
from __future__ import annotations

from collections.abc import Collection

from router import Event, Step


class Enrich(Step, frozen=True, kw_only=True):
    says: bool = False

    def apply(self, event: Event) -> Event:
        return event

    def added(self) -> Collection[str] | None:
        return ("segment",) if self.says else None
"""


def test_names_that_a_step_adds_are_known_behind_it_and_only_there(load_all: Load, tmp_path: Path) -> None:
    drops, head = tmp_path / "drops", "plugins: [drops]\n"
    drops.mkdir()
    (drops / "enrich.py").write_text(STEP)
    to = "to: {type: file, path: 'a/{segment}.jsonl'}"
    load_all("steps: [{type: enrich, says: true}], " + to, tail=head)
    load_all("steps: [{type: enrich}], " + to, tail=head)
    with pytest.raises(BadConfig, match="unknown field `segment`"):
        load_all(
            f"steps: [{{type: mask, fields: [segment], key: {KEY}}}, {{type: enrich, says: true}}], " + to, tail=head
        )
    with pytest.raises(BadConfig, match="unknown field `rgion`"):
        load_all("steps: [{type: enrich, says: true}], to: {type: file, path: '{rgion}.jsonl'}", tail=head)
