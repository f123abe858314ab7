"""Whether a plugin's class can be used: its verbs are async where the engine awaits them, and only there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from router.plugin import Decoder, Plugin, Sink, Source, Step

Manner: TypeAlias = Literal["async", "plain", "context"]

_VERBS: Mapping[type[Plugin], Mapping[str, Manner]] = {
    Plugin: {"check": "plain"},
    Source: {"run": "async", "run_on": "async", "divided": "plain"},
    Decoder: {"decode": "plain", "restore": "plain", "zone": "plain"},
    Step: {"apply": "plain", "added": "plain"},
    Sink: {"deliver": "async", "open": "context", "resume": "context"},
}


def fault_of(plugin: type[Plugin]) -> str:
    """Say why a plugin's class cannot be used; empty if nothing is seen to be wrong."""
    for kind, verbs in _VERBS.items():
        if issubclass(plugin, kind):
            for verb, manner in verbs.items():
                if wrong := _wrong(getattr(plugin, verb, None), manner):
                    return f"`{plugin.__name__}.{verb}` {wrong}"
    fields: object = getattr(plugin, "fields", None) if issubclass(plugin, Decoder) else None
    for struct in _structs(fields):
        if not struct.__struct_config__.frozen:
            return f"`{struct.__name__}` is not frozen: events belong to all subscriptions (`frozen=True`)"
    return ""


def _wrong(verb: Callable[..., Any] | None, manner: Manner) -> str:
    if not callable(verb):
        return "cannot be called"
    waits = inspect.iscoroutinefunction(verb)
    yields = inspect.isgeneratorfunction(verb) or inspect.isasyncgenfunction(verb)
    if manner == "context":
        return "must be an async context manager (`@asynccontextmanager`)" if waits or yields else ""
    if manner == "plain":
        return "must be a plain function, neither async nor a generator" if waits or yields else ""
    if yields:
        return "must be `async def` without `yield`"
    return "" if waits or _may_wait(verb) else "must be `async def`"


def _may_wait(verb: Callable[..., Any]) -> bool:
    """Say whether a plain function may return something to be awaited: it wraps, or says, or is not seen through."""
    if not inspect.isfunction(verb) or inspect.iscoroutinefunction(inspect.unwrap(verb)):
        return True
    said = str(verb.__annotations__.get("return", ""))
    return any(word in said for word in ("Coroutine", "Awaitable", "Future", "Task"))


def _structs(found: object) -> Iterator[type[msgspec.Struct]]:
    """Yield the structs that a type consists of."""
    if isinstance(found, type) and issubclass(found, msgspec.Struct):
        yield found
        for field in msgspec.structs.fields(found):
            if field.type is not found:
                yield from _structs(field.type)
        return
    for argument in get_args(found):
        yield from _structs(argument)
