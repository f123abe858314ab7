"""Every mistake is reported, all of them at once, with line, place and the likely fix."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from router.config import BadConfig, Problem, load, loads
from router.config.problem import path_of, shown

Mistakes = Callable[..., list[Problem]]

HEAD = """\
plugins: [drop-ins]
journal: {type: fake}
decoder: {type: fake}
sources: {push: {type: fake}}
"""
"""The lines before the text of most tests, four of them."""

SINK = "departments.a.subscriptions.s.to"


@pytest.mark.parametrize(
    ("fields", "place", "problem", "hint"),
    [
        ("urll: x", ".urll", "unknown key", "did you mean `url`?"),
        ("qqq: x", ".qqq", "unknown key", "known: any, "),
        ("url:", ".url", "expected text, found nothing", 'write ""'),
        ("url: [a]", ".url", "expected text, found a list", ""),
        ("url: {a: b}", ".url", "expected text, found a mapping", ""),
        (
            "timeout: 5 min",
            ".timeout",
            "expected a duration such as 500ms, 90s, 5m, 24h, 7d, found `5 min`",
            "units: ms",
        ),
        ("timeout: -1s", ".timeout", "expected a duration", "without a sign"),
        ("timeout: 5S", ".timeout", "expected a duration", "did you mean `5s`?"),
        ("size: 20gb", ".size", "expected a size such as 64KiB, 10MB, 20GiB, found `20gb`", "did you mean `20GB`?"),
        ("verify: yes", ".verify", "expected true or false, found `yes`", "write true"),
        ('verify: "true"', ".verify", 'expected true or false, found the text "true"', ""),
        ("count: 0", ".count", "expected a whole number >= 1, found `0`", ""),
        ("count: 1.5", ".count", "expected a whole number, found `1.5`", ""),
        ('count: "3"', ".count", 'expected a whole number, found the text "3"', "remove the quotes"),
        ("ratio: 1e999", ".ratio", "expected a number, found `1e999`", ""),
        ("port: ${WORD}", ".port", "expected a whole number, found `${WORD}`", ""),
        ("timeout: ${UPPER}", ".timeout", "found `${UPPER}`", ""),
        ("port: ${EMPTY}", ".port", "found `${EMPTY}`, which is empty", ""),
        ("form: jsn", ".form", "expected one of `json`, `csv`, found `jsn`", "did you mean `json`?"),
        ("color: rad", ".color", "expected one of `red`, `blue`", "did you mean `red`?"),
        ("servers: {a: b}", ".servers", "expected a list or text, found a mapping", ""),
        ("servers: [a, [b]]", ".servers[1]", "expected text, found a list", ""),
        ("labels: {a: x}", ".labels.a", "expected a whole number, found `x`", ""),
        ("labels: [a]", ".labels", "expected a mapping, found a list", ""),
        ("pair: [1]", ".pair", "expected a list of 2, found one of 1", ""),
        ("pair: 1", ".pair", "expected a list, found `1`", "written `[thing]`"),
        ("tls: {}", ".tls", "`ca` is missing", "add `ca:`, text"),
        ("tls: {caa: x}", ".tls.caa", "unknown key", "did you mean `ca`?"),
        ("tls: x", ".tls", "expected a mapping, found `x`", ""),
        ("code: x", ".code", "expected text of length >= 2, found `x`", ""),
        ("secret: [a]", ".secret", "expected a secret", ""),
        ("secret: {file: nowhere}", ".secret.file", "the secret cannot be read: No such file", "nowhere"),
        ("secret: {fil: x}", ".secret.fil", "unknown key", "did you mean `file`?"),
        ('secret: {file: "\\0"}', ".secret.file", "the secret cannot be read: embedded null byte", ""),
        ("url: ${NO_SUCH}", ".url", "the environment variable NO_SUCH is not set", "${NO_SUCH:-DEFAULT}"),
        ('url: "${1X}"', ".url", "`${1X}` is no reference to an environment variable", "$$"),
        ("key: a, key: b", ".key", "the key is there already, in line 9", "keep one"),
        ("url: ftp", ".url", "`ftp` is no URL", "begin with https://"),
        ("key: bad", ".key", "this key is bad", ""),
        ("key: bug", "", "refused: ZeroDivisionError: a bug in check", ""),
        ("tls: {ca: a, names: [a, x]}", ".tls.names[1]", "x is no name", ""),
        ('url: "\\ud800"', ".url", "a character that is no text", ""),
        ('"\\e[31m": x', ".\\x1b[31m", "unknown key", ""),
    ],
)
def test_mistake_in_a_plugin(fields: str, place: str, problem: str, hint: str, sink_mistakes: Mistakes) -> None:
    [found] = sink_mistakes(fields, WORD="word", EMPTY="", UPPER="5S")
    assert "5s" not in found.hint or "5S" in fields
    assert problem in found.problem
    assert found.place == SINK + place
    assert hint in found.hint
    assert found.line == (8 if place == "" else 9)


@pytest.mark.parametrize(
    ("text", "line", "place", "problem", "hint"),
    [
        ("departments: {}", 5, "departments", "at least one department, found 0", ""),
        ("", 1, "", "`departments` is missing", "add `departments:`"),
        ("departments: {a: {accounts: ['*']}}\nview: 1", 6, "view", "unknown key", "known: admin"),
        ("departments: {a: {accounts: '*'}}", 5, "departments.a.accounts", "expected a list", "written `[thing]`"),
        ("departments: {a: {accounts: ['']}}", 5, "departments.a.accounts[0]", "length >= 1", ""),
        ("departments: {A b: {accounts: ['*']}}", 5, "departments.A b", "expected a name of lower", "such as `a-b`"),
        (
            "departments:\n  a: {accounts: ['*'], subscriptions: {s: {}}}",
            6,
            "departments.a.subscriptions.s",
            "`to` is missing",
            "add `to:`, a sink, such as",
        ),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {url: x}}}}}",
            5,
            SINK,
            "`type` is missing",
            "the name of the sink",
        ),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: faek}}}}}",
            5,
            f"{SINK}.type",
            "no sink `faek`",
            "did you mean `fake`?",
        ),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: ../fake}}}}}",
            5,
            f"{SINK}.type",
            "no sink `../fake`",
            "",
        ),
        (
            "departments: {a: {accounts: ['*'], shares_with: [b, sale]}, b: {}, sales: {accounts: [x]}}",
            5,
            "departments.a.shares_with[1]",
            "there is no department `sale`",
            "did you mean `sales`?",
        ),
        (
            "departments: {a: {accounts: ['*'], shares_with: [a]}}",
            5,
            "departments.a.shares_with[0]",
            "a department sees its own results anyway",
            "",
        ),
        ("departments:\n  a: {}", 6, "departments.a", "it can see nothing", "add `accounts:"),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: fake}, delivery: {in_flight: 0}}}}}",
            5,
            "departments.a.subscriptions.s.delivery.in_flight",
            "expected a whole number >= 1, found `0`",
            "",
        ),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: fake}, delivery: {retry_min: 5m}}}}}",
            5,
            "departments.a.subscriptions.s.delivery.retry_max",
            "60s is less than `retry_min`, 300s",
            "",
        ),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: fake}, delivery: {retry_min: 0}}}}}",
            5,
            "departments.a.subscriptions.s.delivery.retry_min",
            "a pause of nothing",
            "such as 1s",
        ),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: fake}, start: yesterday}}}}",
            5,
            "departments.a.subscriptions.s.start",
            "yesterday: a time is written 2026-11-24T08:00Z",
            "or `now`, or `earliest`",
        ),
        (
            """
            departments:
              a:
                accounts: ['*']
                subscriptions:
                  s:
                    to: {type: fake}
                    match:
                      any:
                        - region: x
                        - regoin: y
            """,
            15,
            "departments.a.subscriptions.s.match.any[1].regoin",
            "unknown field",
            "did you mean `region`?",
        ),
        (
            "departments: {a: {accounts: [a], subscriptions: {s: {to: {type: fake}, match: {type: dm:Deliver:Fial}}}}}",
            5,
            "departments.a.subscriptions.s.match.type",
            "unknown event type `dm:Deliver:Fial`",
            "did you mean `dm:Deliver:Fail`?",
        ),
        (
            "departments: {a: {accounts: ['*'], subscriptions: {s: {to: {type: fake}, steps: {type: fake}}}}}",
            5,
            "departments.a.subscriptions.s.steps",
            "expected a list, found a mapping",
            "written `[thing]`",
        ),
    ],
)
def test_mistake_in_the_frame(text: str, line: int, place: str, problem: str, hint: str, mistakes: Mistakes) -> None:
    [found] = mistakes(text)
    assert (found.place, found.line) == (place, line)
    assert problem in found.problem
    assert hint in found.hint


@pytest.mark.parametrize(
    ("text", "line", "column", "problem", "hint"),
    [
        ("a:\n\tb: 1", 2, 1, "character '\\t'", "indent with spaces"),
        ("a: [1,\n2", 2, 2, "expected ',' or ']'", "a bracket is missing"),
        ("a: &x 1\nb: *x", 1, 4, "anchors and aliases are not used here", "in quotes"),
        ("a: *x", 1, 4, "anchors and aliases are not used here", "in quotes"),
        ("a: !!str 1", 1, 4, "tags are not used here", "needs quotes"),
        ("a: !x {b: 1}", 1, 4, "tags are not used here", "needs quotes"),
        ("a: b: c", 1, 5, "mapping values are not allowed", "quotes"),
        ("a:\n  b: 1\n c: 2", 3, 2, "expected <block end>", "indentation"),
        ("a: 'x", 1, 6, "quoted scalar", "a closing quote is missing"),
        ("a: @x", 1, 4, "cannot start any token", "quotes"),
        ("\na: \x00", 2, 4, "a character that YAML does not allow", ""),
        ("\na: \U000f0041", 2, 4, "a character that has no meaning in text", ""),
        ("? [a]\n: 1", 1, 3, "a list or a mapping cannot be a key", ""),
        ("a: 1\n---\nb: 1", 2, 1, "a second document begins here", "remove the `---`"),
        ("- a", 1, 1, "a config is a mapping", ""),
        ("just text", 1, 1, "a config is a mapping", ""),
        ("[" * 100_000, 1, 66, "nested more than 64 levels deep", ""),
        ("a: ${X", 1, 4, "", ""),
    ],
)
def test_mistake_in_the_yaml(text: str, line: int, column: int, problem: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as raised:
        loads(text, "x.yaml", tmp_path, {})
    found = raised.value.problems[0]
    if problem:
        assert (found.line, found.column) == (line, column)
    assert problem in found.problem
    assert hint in found.hint


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(mistakes: Mistakes) -> None:
    found = mistakes(
        """\
        admin: {listn: x}
        departments:
          sales:
            acounts: ["*"]
            shares_with: [nobody]
            subscriptions:
              one: {match: {regoin: x, type: Deliver:SendFaild}, to: {type: fake, urll: x, count: 0}}
              two: {}
          lost: {}
        """,
        head=HEAD.replace("[drop-ins]", "[drop-ins, no-folder]").replace("{push: {type: fake}}", "{Push: {type: fak}}"),
    )
    assert [(p.line, p.place) for p in found] == [
        (1, "plugins[1]"),
        (4, "sources.Push"),
        (4, "sources.Push.type"),
        (5, "admin.listn"),
        (8, "departments.sales.acounts"),
        (9, "departments.sales.shares_with[0]"),
        (11, "departments.sales.subscriptions.one.match.regoin"),
        (11, "departments.sales.subscriptions.one.match.type"),
        (11, "departments.sales.subscriptions.one.to.urll"),
        (11, "departments.sales.subscriptions.one.to.count"),
        (12, "departments.sales.subscriptions.two"),
        (13, "departments.lost"),
    ]


def test_problem_reads_as_one_line_that_editors_can_jump_to(mistakes: Mistakes) -> None:
    [found] = mistakes("departments: {a: {acounts: [x]}}")
    assert str(found) == "x.yaml:5:19: departments.a.acounts: unknown key (did you mean `accounts`?)"


@pytest.mark.parametrize(
    ("one", "other", "clashes"),
    [
        ("0.0.0.0:80", "127.0.0.1:80", ["sources.two.listen"]),
        ("127.0.0.1:80", "127.0.0.1:80", ["sources.two.listen"]),
        ("127.0.0.1:80", "127.0.0.2:80", []),
        ("127.0.0.1:0", "127.0.0.1:0", []),
        ("127.0.0.1:80", "127.0.0.1:81", []),
        ("127.0.0.1:9464", "127.0.0.1:81", ["sources.one.listen"]),
    ],
)
def test_two_listeners_on_one_address_are_refused(one: str, other: str, clashes: list[str], mistakes: Mistakes) -> None:
    sources = f"sources: {{one: {{type: fake, listen: '{one}'}}, two: {{type: fake, listen: '{other}'}}}}"
    head = HEAD.replace("sources: {push: {type: fake}}", sources)
    found = mistakes("departments: {a: {accounts: ['*']}}\nanother: mistake", head=head)
    assert [p.place for p in found if "listens on" in p.problem] == clashes


@pytest.mark.parametrize(
    "fields",
    [
        "url: ftp${KEY}, secret: '${KEY}'",
        "url: ftp, secret: hunter-22",
        "url: ftp, secret: {file: key}",
        "port: '${KEY}'",
        "form: '${KEY}'",
        "timeout: ${KEY}",
        "tls: '${KEY}'",
        "password: hu",
        "token: hu",
        "secret: {file: '${KEY}'}",
        "secret: *hunter-22",
        "secret: !hunter-22",
        "secret: &hunter-22",
        "secret: @hunter-22",
        "secret: [hunter-22]",
    ],
)
def test_secrets_never_appear_in_errors(fields: str, sink_mistakes: Mistakes, folder: Path) -> None:
    (folder / "key").write_text("hunter-22\n")
    shown_to_people = "\n".join(map(str, sink_mistakes(fields, KEY="hunter-22")))
    assert "hunter" not in shown_to_people
    assert "`hu`" not in shown_to_people


def test_secrets_never_appear_in_errors_of_patterns_and_types(mistakes: Mistakes) -> None:
    text = "departments: {a: {accounts: ['*'], subscriptions: {s: {match: {type: ${KEY}}, to: {type: '${KEY}'}}}}}"
    found = mistakes(text, KEY="hunter-22")
    assert [p.problem for p in found] == ["unknown event type `${KEY}`", "no sink `${KEY}`"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the file cannot be read: No such file or directory"),
        (b"a: 1\nb: \xff", "this line is no UTF-8"),
    ],
)
def test_file_that_cannot_be_read_is_a_problem(content: bytes | None, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadConfig) as raised:
        load(file, {})
    [found] = raised.value.problems
    assert found.problem == problem
    assert found.line == (2 if content else 1)


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "empty"), (b"\n", "empty"), (b"\xff", "UTF-8"), (b"x" * 70_000, "larger")]
)
def test_file_that_holds_no_secret_is_a_problem(
    content: bytes, problem: str, folder: Path, sink_mistakes: Mistakes
) -> None:
    (folder / "key").write_bytes(content)
    [found] = sink_mistakes("secret: {file: key}")
    assert problem in found.problem


def test_folder_is_no_secret_and_no_config(tmp_path: Path, sink_mistakes: Mistakes) -> None:
    assert "Is a directory" in sink_mistakes("secret: {file: drop-ins}")[0].problem
    with pytest.raises(BadConfig, match="Is a directory"):
        load(tmp_path, {})


yaml_like = st.text(alphabet=st.sampled_from("ab:{}[]-,\n \t'\"#&*!|>%@$?~01\u4e2d\x00\ud800"), max_size=60)


@given(text=st.one_of(yaml_like, st.text(max_size=60)))
@example(text="departments: {a: {subscriptions: {s: {to: {type: {}}}}}}")
@example(text="decoder: []\nplugins: {}\njournal: null")
@example(text="plugins: [a, [b]]\ndepartments: {a: ~, ~: 1}")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_problems_with_places_and_nothing_else(text: str, tmp_path: Path) -> None:
    """Nothing that can be typed ends in a traceback."""
    with pytest.raises(BadConfig) as raised:
        loads(text, "x.yaml", tmp_path, {}, lambda _group: ())
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 1
    for problem in raised.value.problems:
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
        assert str(problem).isprintable()


@given(st.lists(st.one_of(st.integers(0, 9), st.text("abc_", min_size=1)), min_size=1).map(tuple))
def test_places_are_read_as_they_are_written(path: tuple[str | int, ...]) -> None:
    assert path_of(shown(path)) == path
