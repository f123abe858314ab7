"""`type: kafka` finds a drop-in of that name, else an installed plugin; a plugin that is broken is a problem."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router import ConfigError, Decoder, Sink, Source, Step
from router.config.plugins import KINDS, Plugins, installed


class Installed(Sink, frozen=True, kw_only=True):
    """A sink as a package would install it."""


class Point(msgspec.Struct, frozen=True):
    """An entry point that loads what it is told, or raises it."""

    name: str
    what: Any

    def load(self) -> Any:
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what


def points(group: str) -> Iterable[Point]:
    return [Point("kafka", Installed), Point("number", 5), Point("gone", ImportError("no module named rdkafka"))] * (
        group == "router.sinks"
    )


SINK = """
from __future__ import annotations
import msgspec
from router import Sink

class Dropped(Sink, frozen=True, kw_only=True):
    path: str = "x"
"""


def test_drop_in_goes_before_an_installed_plugin(tmp_path: Path) -> None:
    assert Plugins([tmp_path], points).find(Sink, "kafka") is Installed
    (tmp_path / "kafka.py").write_text(SINK)
    assert Plugins([tmp_path], points).find(Sink, "kafka").__name__ == "Dropped"


def test_drop_in_of_another_kind_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "kafka.py").write_text(SINK.replace("Sink", "Step"))
    assert Plugins([tmp_path], points).find(Sink, "kafka") is Installed


def test_classes_that_a_drop_in_imports_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        SINK + "\nfrom router_plugins import *\nclass _Hidden(Dropped, frozen=True): pass\n"
    )
    assert Plugins([tmp_path], points).find(Sink, "one").__name__ == "Dropped"


def test_drop_in_is_run_once(tmp_path: Path) -> None:
    note = f"\nwith open({str(tmp_path / 'log')!r}, 'a') as log:\n    log.write('x')\n"
    (tmp_path / "one.py").write_text(SINK + note)
    plugins = Plugins([tmp_path], points)
    assert plugins.find(Sink, "one") is plugins.find(Sink, "one")
    with pytest.raises(ConfigError):
        plugins.find(Source, "one")
    assert (tmp_path / "log").read_text() == "x"


def test_a_drop_in_that_has_not_changed_gives_equal_plugins(tmp_path: Path) -> None:
    """Or each reload would exchange what uses one, and refuse to go on with a decoder that is one."""
    (tmp_path / "one.py").write_text(SINK)
    before, after = (Plugins([tmp_path], points).find(Sink, "one") for _ in range(2))
    assert before() == after()
    (tmp_path / "one.py").write_text("no Python")
    with pytest.raises(ConfigError):
        Plugins([tmp_path], points).find(Sink, "one")
    (tmp_path / "one.py").write_text(SINK)
    assert before() == Plugins([tmp_path], points).find(Sink, "one")()
    (tmp_path / "one.py").write_text(SINK.replace('"x"', '"y"'))
    changed = Plugins([tmp_path], points).find(Sink, "one")
    assert changed(path="x") != before()
    assert changed() == Plugins([tmp_path], points).find(Sink, "one")()


@pytest.mark.parametrize(
    ("code", "problem", "line"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'", 1),
        ("\nraise SystemExit(3)", "SystemExit: 3", 2),
        ("def f(:", "SyntaxError", None),
        (SINK.replace("path: str", "path: Nowhere"), "NameError: name 'Nowhere' is not defined", None),
        (
            SINK + SINK.replace("Dropped", "Another").replace("from __future__ import annotations", ""),
            "Another, Dropped",
            None,
        ),
    ],
)
def test_broken_drop_in_is_a_problem_with_its_line(code: str, problem: str, line: int | None, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(code)
    plugins = Plugins([tmp_path], points)
    for _ in range(2):
        with pytest.raises(ConfigError) as raised:
            plugins.find(Sink, "one")
        assert problem in raised.value.problem
    if line:
        assert raised.value.hint == f"see {tmp_path / 'one.py'} at line {line}"


@pytest.mark.parametrize(
    ("name", "problem", "hint"),
    [
        ("kafak", "no sink `kafak`", "did you mean `kafka`?"),
        ("zzz", "no sink `zzz`", "known: gone, kafka, number, one"),
        ("../one", "no sink `../one`", "did you mean `one`?"),
        ("number", "the entry point `number` is no sink", ""),
        ("gone", "the plugin `gone` cannot be imported: ImportError: no module named rdkafka", "see its module"),
    ],
)
def test_plugin_that_is_not_there_is_a_problem(name: str, problem: str, hint: str, tmp_path: Path) -> None:
    folder = tmp_path / "drop-ins"
    folder.mkdir()
    for file in (folder / "one.py", tmp_path / "one.py"):
        file.write_text(SINK)
    with pytest.raises(ConfigError) as raised:
        Plugins([folder], points).find(Sink, name)
    assert raised.value.problem == problem
    assert hint in raised.value.hint


def test_every_built_in_plugin_can_be_found() -> None:
    plugins = Plugins([])
    found = {point.name: plugins.find(k, point.name) for k in KINDS for point in installed(f"router.{KINDS[k]}s")}
    assert {"sqlite", "memory", "directmail"} <= found.keys()


HEAD = """
from __future__ import annotations
from contextlib import asynccontextmanager
from functools import wraps
from typing import ClassVar
import msgspec
from router import Decoder, Sink, Source, Step

class Inner(msgspec.Struct):
    name: str

class Fields(msgspec.Struct, frozen=True):
    account: str
    inner: list[Inner] | None = None

def traced(verb):
    @wraps(verb)
    def call(*arguments):
        return verb(*arguments)
    return call
"""


def found(folder: Path, kind: type[Any], text: str) -> str:
    """Return why a drop-in cannot be used; empty if it can."""
    body = "".join(f"    {line}\n" for line in text.splitlines())
    (folder / "odd.py").write_text(f"{HEAD}\nclass Odd({kind.__name__}, frozen=True, kw_only=True):\n{body}")
    try:
        Plugins([folder], points).find(kind, "odd")
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (Step, "async def apply(self, event): return event", "`Odd.apply` must be a plain function"),
        (Step, "def apply(self, event): yield event", "`Odd.apply` must be a plain function"),
        (Step, "apply = 5", "`Odd.apply` cannot be called"),
        (Step, "async def check(self): ...", "`Odd.check` must be a plain function"),
        (Decoder, "async def decode(self, message, source): ...", "`Odd.decode` must be a plain function"),
        (Decoder, "async def restore(self, message, source, name): ...", "`Odd.restore` must be a plain function"),
        (Decoder, "fields: ClassVar = Fields", "`Inner` is not frozen: events belong to all subscriptions"),
        (Sink, "def deliver(self, batch): print(batch)", "`Odd.deliver` must be `async def`"),
        (Sink, "async def deliver(self, batch): yield", "`Odd.deliver` must be `async def` without `yield`"),
        (Sink, "async def open(self): yield self.deliver", "`Odd.open` must be an async context manager"),
        (Sink, "async def open(self): return self.deliver", "`Odd.open` must be an async context manager"),
        (Sink, "async def resume(self, marks): ...", "`Odd.resume` must be an async context manager"),
        (Source, "def run(self, emit, ready, count): ready()", "`Odd.run` must be `async def`"),
    ],
)
def test_a_plugin_whose_verb_waits_where_it_must_not_or_does_not_where_it_must_is_refused(
    tmp_path: Path, kind: type[Any], text: str, reason: str
) -> None:
    assert reason in found(tmp_path, kind, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Step, "def apply(self, event): return event"),
        (Sink, "@traced\nasync def deliver(self, batch): ..."),
        (Sink, "def deliver(self, batch) -> Coroutine[None, None, None]: return other(batch)"),
        (Sink, "@asynccontextmanager\nasync def open(self): yield self.deliver"),
        (Sink, "@asynccontextmanager\nasync def resume(self, marks): yield self.deliver"),
        (Sink, "def resume(self, marks): return None"),
        (Source, "async def run(self, emit, ready, count): ready()"),
    ],
)
def test_other_ways_to_write_a_verb_are_as_good(tmp_path: Path, kind: type[Any], text: str) -> None:
    assert found(tmp_path, kind, text) == ""
