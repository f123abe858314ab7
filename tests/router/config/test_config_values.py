"""What a good config becomes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router import Secret
from router.config import Config, load, loads
from router.match import ALWAYS

Load = Callable[..., Config]


def the_sink(config: Config) -> Any:
    return config.departments["a"].subscriptions["s"].to


def test_config_by_example_becomes_structs(load_text: Load, folder: Path) -> None:
    (folder / "key").write_text("from a file\n")
    config = load_text(
        """
        plugins: [drop-ins]
        state: /var/lib/router
        journal: {type: fake, quota: 20GiB}
        decoder: {type: fake, timezone: "+01:00"}
        admin: {listen: 127.0.0.1:1}
        grace: 1m
        sources:
          push: {type: fake, listen: 0.0.0.0:8080}
        departments:
          sales:
            accounts: ["*@shop.example.com"]
            subscriptions:
              resend:
                match: {type: dm:Deliver:Fail, region: ${REGION}, status: [2, 4]}
                steps: [{type: fake, fields: [rcpt]}]
                to: {type: fake, url: https://x/${PATH_SECRET}, secret: {file: key}, timeout: 1.5h}
                delivery: {ordered: true, in_flight: 3, retry_max: 2m}
          agency:
            accounts: ["*@mail.agency.example"]
            shares_with: [sales]
        """,
        REGION="cn-hangzhou",
        PATH_SECRET="abc",
    )
    values: Any = config
    assert (config.state, config.grace, config.admin.listen) == ("/var/lib/router", 60.0, "127.0.0.1:1")
    assert values.journal.quota == 20 * 2**30
    assert values.decoder.timezone == "+01:00"
    assert values.sources["push"].listen == "0.0.0.0:8080"
    sales = config.departments["sales"]
    resend = sales.subscriptions["resend"]
    assert sales.accounts == ("*@shop.example.com",)
    assert config.departments["agency"].shares_with == ("sales",)
    assert resend.match.fields == {"type", "region", "status"}
    assert "cn-hangzhou" in repr(resend.match)
    assert repr(resend.steps) == "(FakeStep(fields=('rcpt',)),)"
    assert (resend.delivery.ordered, resend.delivery.in_flight, resend.delivery.retry_max) == (True, 3, 120.0)
    sink: Any = resend.to
    assert (sink.secret, sink.timeout, sink.url) == ("from a file", 5400, "https://x/abc")


def test_defaults_stand_where_nothing_is_said(load_sink: Load, folder: Path) -> None:
    config = load_sink("")
    subscription = config.departments["a"].subscriptions["s"]
    assert (config.state, config.admin.listen) == (str(folder / "state"), "127.0.0.1:9464")
    assert subscription.match == ALWAYS
    assert subscription.steps == ()
    assert (subscription.delivery.in_flight, subscription.delivery.retry_min) == (None, 1.0)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("url: http://x", "url", "http://x"),
        ("code: 0x1F", "code", "0x1F"),
        ("code: 010", "code", "010"),
        ("code: yes", "code", "yes"),
        ("code: 2026-01-07", "code", "2026-01-07"),
        ("code: $$5$", "code", "$5$"),
        ('code: "$${X}"', "code", "${X}"),
        ("code: ${X:-a, [b]: c}", "code", "a, [b]: c"),
        ("code: ${EMPTY:-fallback}", "code", "fallback"),
        ("code: 'a${N}b${N}'", "code", "a7b7"),
        ('key: ""', "key_", ""),
        ("secret: plain", "secret", "plain"),
        ("secret: ~", "secret", None),
        ("timeout: 90s", "timeout", 90.0),
        ("timeout: 500ms", "timeout", 0.5),
        ("timeout: 7d", "timeout", 604_800.0),
        ("timeout: 3", "timeout", 3.0),
        ('timeout: "3"', "timeout", 3.0),
        ("timeout: ${N}m", "timeout", 420.0),
        ("pause: null", "pause", None),
        ("pause: 1h", "pause", 3600.0),
        ("size: 10MB", "size", 10_000_000),
        ("size: 1.5KiB", "size", 1536),
        ("size: 12", "size", 12),
        ("verify: false", "verify", False),
        ("verify: ${YES}", "verify", True),
        ("count: 9", "count", 9),
        ("count: ${N}", "count", 7),
        ('count: "${N}"', "count", 7),
        ("ratio: 1", "ratio", 1.0),
        ("ratio: 2.5e-1", "ratio", 0.25),
        ("port: 010", "port", 10),
        ("port:", "port", None),
        ("form: csv", "form", "csv"),
        ("servers: [a, 1]", "servers", ["a", "1"]),
        ("servers: a", "servers", "a"),
        ("labels: {a: 1, b: 2}", "labels", {"a": 1, "b": 2}),
        ("pair: [1, b]", "pair", (1, "b")),
        ("any: {a: [1, true, null, x, 0.5, '1']}", "any", {"a": [1, True, None, "x", 0.5, "1"]}),
    ],
)
def test_value(text: str, field: str, value: Any, load_sink: Load) -> None:
    assert getattr(the_sink(load_sink(text, N="7", YES="true", EMPTY="")), field) == value


def test_enum_is_written_as_its_value(load_sink: Load) -> None:
    assert the_sink(load_sink("color: blue")).color.name == "BLUE"


def test_secret_shows_nowhere(load_sink: Load, folder: Path) -> None:
    (folder / "key").write_bytes(b"a secret in a file\r\n")
    for text in ("secret: {file: key}", "secret: a secret in a file", "secret: ${KEY}"):
        sink = the_sink(load_sink(text, KEY="a secret in a file"))
        assert type(sink.secret) is Secret
        assert sink.secret == "a secret in a file"
        assert "a secret" not in repr(sink)


def test_file_is_loaded_with_paths_relative_to_its_folder(folder: Path) -> None:
    (folder / "key").write_text("k")
    file = folder / "router.yaml"
    file.write_bytes(
        b"\xef\xbb\xbf# \xe4\xb8\xad\xe6\x96\x87 ${NOT_USED}\n"
        b"plugins: [drop-ins]\njournal: {type: fake}\ndecoder: {type: fake}\nsources: {p: {type: fake}}\n"
        b"departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: fake, secret: {file: key}}}}}}\n"
    )
    assert the_sink(load(file, {})).secret == "k"


def test_reference_may_stand_inside_of_braces(load_sink: Load) -> None:
    assert the_sink(load_sink("labels: {a: ${N}}, servers: [${N}, x${N}]", N="7")).servers == ["7", "x7"]


def test_value_from_the_environment_is_text_and_never_yaml(load_sink: Load) -> None:
    """A secret with a colon, a brace or a newline stays one text."""
    for hostile in ("a: b", "{x: 1}", "a\nb: c", "# no", "''", "${N}", "*x", "!!int 1"):
        assert the_sink(load_sink("code: ${VALUE}", VALUE=hostile)).code == hostile


def test_a_thousand_departments_load(folder: Path) -> None:
    departments = "".join(
        f"  d{i}:\n    accounts: ['*@d{i}.example']\n    subscriptions:\n"
        f"      s: {{match: {{region: r{i}}}, to: {{type: fake}}}}\n"
        for i in range(1000)
    )
    head = (
        "plugins: [drop-ins]\njournal: {type: fake}\ndecoder: {type: fake}\nsources: {p: {type: fake}}\ndepartments:\n"
    )
    assert len(loads(head + departments, "x.yaml", folder, {}).departments) == 1000
