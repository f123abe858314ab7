"""`router`, but it ends by SIGKILL at a station: `python deadly.py MODULE:CLASS.METHOD WHEN COUNT WORD ARGUMENTS...`.

WHEN is `before` or `after` the call with this COUNT; only calls count in which some argument has something under the
attribute WORD (`-`: all do). The station is patched from outside: nothing in the router knows of it.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    place, when, count, word, *arguments = sys.argv[1:]
    module, _, path = place.partition(":")
    owner_name, _, name = path.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    setattr(owner, name, deadly(getattr(owner, name), when, int(count), word))
    sys.argv = ["router", *arguments]
    importlib.import_module("router.cli").main()


def deadly(method: Callable[..., Any], when: str, count: int, word: str) -> Callable[..., Any]:
    calls = itertools.count(1)

    def is_station(now: str, arguments: tuple[Any, ...]) -> bool:
        counts = word == "-" or any(getattr(one, word, None) for one in arguments)
        return now == when and counts and next(calls) == count

    def die(now: str, arguments: tuple[Any, ...]) -> None:
        if is_station(now, arguments):
            os.kill(os.getpid(), signal.SIGKILL)

    async def asynchronous(*arguments: Any, **named: Any) -> Any:
        die("before", arguments)
        result = await method(*arguments, **named)
        die("after", arguments)
        return result

    def synchronous(*arguments: Any, **named: Any) -> Any:
        die("before", arguments)
        result = method(*arguments, **named)
        die("after", arguments)
        return result

    return asynchronous if inspect.iscoroutinefunction(method) else synchronous


if __name__ == "__main__":
    main()
