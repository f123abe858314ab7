"""A folder with drop-ins of every kind, and a way to load configs that use them."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent

import pytest

from router.config import BadConfig, Config, Problem, loads

DROP_IN = '''
from __future__ import annotations

import enum
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from router import ConfigError, Decoder, Secret, Sink, Source, Step
from router.journal import Journal
from router.units import Duration, Size


class Fields(msgspec.Struct, frozen=True):
    account: str = ""
    region: str = ""
    status: str = ""
    rcpt: str = ""


class FakeDecoder(Decoder, frozen=True, kw_only=True):
    fields: ClassVar[type[msgspec.Struct]] = Fields
    account: ClassVar[str] = "account"
    narrow: ClassVar[frozenset[str]] = frozenset({"region", "status"})
    types: ClassVar[dict[str, str]] = {"dm:Deliver:Fail": "Deliver:SendFailed"}

    timezone: str = "+08:00"


class Tls(msgspec.Struct, frozen=True):
    ca: str
    names: tuple[str, ...] = ()


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class FakeSink(Sink, frozen=True, kw_only=True):
    """Has a field of every type that plugins use."""

    url: str = "http://x"
    secret: Secret | None = None
    timeout: Duration = 5.0
    pause: Duration | None = None
    size: Size = 10
    verify: bool = True
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    ratio: float = 0.5
    port: int | None = None
    form: Literal["json", "csv"] = "json"
    color: Color = Color.RED
    servers: list[str] | str = ""
    labels: dict[str, int] = {}
    pair: tuple[int, str] = (0, "")
    any: Any = None
    key_: str = msgspec.field(default="", name="key")
    tls: Tls | None = None
    code: Annotated[str, msgspec.Meta(min_length=2)] = "ok"
    password: Annotated[Secret, msgspec.Meta(min_length=4)] | None = None
    token: Annotated[Secret, msgspec.Meta(min_length=4)] | int | None = None

    def check(self) -> None:
        if not self.url.startswith("http"):
            raise ConfigError("url", f"`{self.url}` is no URL; key {self.secret}", "begin with https://")
        if self.key_ == "bad":
            raise ConfigError("key_", "this key is bad")
        if self.key_ == "bug":
            raise ZeroDivisionError("a bug in check")
        if self.tls and "x" in self.tls.names:
            raise ConfigError("tls.names[1]", "x is no name")


class FakeSource(Source, frozen=True, kw_only=True):
    listen: str = "127.0.0.1:0"


class FakeStep(Step, frozen=True, kw_only=True):
    fields: tuple[str, ...]


class FakeJournal(Journal, frozen=True, kw_only=True):
    quota: Size = 2**30
'''

HEAD = """\
plugins: [drop-ins]
journal: {type: fake}
decoder: {type: fake}
sources: {push: {type: fake}}
"""
"""Four lines that every test's config begins with."""

Load = Callable[..., Config]
Mistakes = Callable[..., list[Problem]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drop_ins = tmp_path / "drop-ins"
    drop_ins.mkdir()
    (drop_ins / "fake.py").write_text(DROP_IN)
    return tmp_path


@pytest.fixture
def load_text(folder: Path) -> Load:
    """Load a whole config from its text; keyword arguments are the environment."""

    def load(text: str, **environ: str) -> Config:
        return loads(dedent(text), "x.yaml", folder, environ)

    return load


@pytest.fixture
def load_sink(load_text: Load) -> Load:
    """Load a config with one sink, given as the text of its fields; its line is the eighth."""

    def load(fields: str, **environ: str) -> Config:
        text = "departments:\n  a:\n    accounts: ['*']\n    subscriptions: {s: {to: {type: fake,\n"
        return load_text(HEAD + text + indent(dedent(fields), "      ") + "\n      }}}\n", **environ)

    return load


@pytest.fixture
def mistakes(load_text: Load) -> Mistakes:
    """Return the problems of a config that is HEAD and the text."""

    def load(text: str, head: str = HEAD, **environ: str) -> list[Problem]:
        with pytest.raises(BadConfig) as raised:
            load_text(head + dedent(text), **environ)
        return list(raised.value.problems)

    return load


@pytest.fixture
def sink_mistakes(load_sink: Load) -> Mistakes:
    """Return the problems of the one sink's fields."""

    def load(fields: str, **environ: str) -> list[Problem]:
        with pytest.raises(BadConfig) as raised:
            load_sink(fields, **environ)
        return list(raised.value.problems)

    return load
