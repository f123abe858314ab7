"""Finds the class behind `type: kafka`: a drop-in file of that name, else an installed entry point."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import msgspec

from router.config.verbs import fault_of
from router.errors import ConfigError
from router.hint import nearest
from router.journal import Journal
from router.plugin import Decoder, Plugin, Sink, Source, Step

KINDS: Mapping[type[Plugin], str] = {
    Source: "source",
    Sink: "sink",
    Step: "step",
    Decoder: "decoder",
    Journal: "journal",
}
"""The kinds of plugins; the entry points of sources are in the group `router.sources`, and so on."""

_DROP_IN = "router_drop_in_"
_CODE = "__router_code__"
"""Where a drop-in's module keeps the bytes that it was made of."""


class EntryPoint(Protocol):
    """What is needed of an installed entry point."""

    @property
    def name(self) -> str:
        """The word after `type:`."""
        ...

    def load(self) -> Any:
        """Import the module and return the class."""
        ...


EntryPoints: TypeAlias = Callable[[str], Iterable[EntryPoint]]
"""Returns the entry points of a group."""


def installed(group: str) -> Iterable[EntryPoint]:
    """Return the entry points of all installed packages."""
    return metadata.entry_points(group=group)


class Plugins:
    """Finds plugin classes; a drop-in is looked at once by each instance, so a new one sees a changed file."""

    def __init__(self, folders: Sequence[Path], entry_points: EntryPoints = installed) -> None:
        self._folders = folders
        self._entry_points = entry_points
        self._modules: dict[Path, ModuleType] = {}
        self._found: dict[tuple[type[Plugin], str], type[Plugin] | ConfigError] = {}

    def find(self, kind: type[Plugin], name: str) -> type[Plugin]:
        """Return the class; raises `ConfigError` if there is none, or it cannot be imported."""
        if (kind, name) not in self._found:
            try:
                self._found[kind, name] = _usable(name, self._drop_in(kind, name) or self._entry_point(kind, name))
            except ConfigError as error:
                self._found[kind, name] = error  # a thousand subscriptions with it need no thousand imports
        found = self._found[kind, name]
        if isinstance(found, ConfigError):
            raise found
        return found

    def _drop_in(self, kind: type[Plugin], name: str) -> type[Plugin] | None:
        """Return the one class of the kind that the drop-in defines; None if there is no file, or no such class."""
        if not name.isidentifier():
            return None
        for folder in self._folders:
            file = folder / f"{name}.py"
            if not file.is_file():
                continue
            if file not in self._modules:
                self._modules[file] = _guarded(name, file, partial(import_drop_in, file))
            defined = _defined(self._modules[file], kind)
            if len(defined) > 1:
                names = ", ".join(sorted(c.__name__ for c in defined))
                raise ConfigError(
                    "type", f"{file} defines more than one {KINDS[kind]}: {names}", "one file, one plugin"
                )
            if defined:
                return defined[0]
        return None

    def _entry_point(self, kind: type[Plugin], name: str) -> type[Plugin]:
        points = {point.name: point for point in self._entry_points(f"router.{KINDS[kind]}s")}
        if name not in points:
            files = {f.stem for folder in self._folders for f in folder.glob("*.py") if not f.stem.startswith("_")}
            raise ConfigError("type", f"no {KINDS[kind]} `{name}`", nearest(name, files.union(points)))
        found = _guarded(name, None, points[name].load)
        if not (isinstance(found, type) and issubclass(found, kind)):
            raise ConfigError("type", f"the entry point `{name}` is no {KINDS[kind]}", "a fault of the plugin")
        return found


def _usable(name: str, plugin: type[Plugin]) -> type[Plugin]:
    """Return the class; raises `ConfigError` for one that cannot do what its kind does."""
    if fault := fault_of(plugin):
        raise ConfigError("type", f"the plugin `{name}` cannot be used: {fault}", "a fault of the plugin")
    return plugin


def drop_ins(plugins: Iterable[Plugin]) -> list[str]:
    """Return the files that plugins come from, for those that are drop-ins: to import in another process."""
    modules = [sys.modules[name] for name in dict.fromkeys(type(plugin).__module__ for plugin in plugins)]
    return [str(module.__file__) for module in modules if module.__name__.startswith(_DROP_IN)]


def import_drop_in(file: Path) -> ModuleType:
    """Run a drop-in as a module of its own name, which msgspec needs to resolve annotations.

    One that has not changed since it was imported stays as it is: its plugins are equal to those of the running config.
    """
    digest = hashlib.blake2b(str(file.resolve()).encode(), digest_size=6).hexdigest()
    name, code = f"{_DROP_IN}{digest}_{file.stem}", file.read_bytes()
    known = sys.modules.get(name)
    if known and vars(known)[_CODE] == code:
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    vars(module)[_CODE] = code
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        for plugin in _defined(module, Plugin):
            msgspec.structs.fields(plugin)  # resolves the annotations, so that a wrong one shows here
    except BaseException:
        del sys.modules[name]
        if known:
            sys.modules[name] = known  # it still runs
        raise
    return module


def _defined(module: ModuleType, kind: type[Plugin]) -> list[type[Plugin]]:
    """Return the classes of a kind that a module defines itself; a name with `_` in front is its own affair."""
    return [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, kind)
        and value.__module__ == module.__name__
        and name[0] != "_"
    ]


def _guarded(name: str, file: Path | None, load: Callable[[], Any]) -> Any:
    """Import a plugin; whatever it raises becomes a `ConfigError` with the line of its file."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if file and f.filename == str(file)]
        line = f" at line {frames[-1].lineno}" if frames else ""
        where = f"{file}{line}" if file else "its module"
        raise ConfigError(
            "type", f"the plugin `{name}` cannot be imported: {type(error).__name__}: {error}", f"see {where}"
        ) from error
