"""Options that several commands share: said once, by the function that makes something of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any


def taking(**made: Callable[..., object]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a function in the place of a parameter, which gets what the function returns.

    `@taking(choice=choice_of)` on `def show(config: ConfigFile, choice: Choice)` makes a command that has the
    parameters of `choice_of` behind `config`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        shared = {name: inspect.signature(function, eval_str=True).parameters for name, function in made.items()}

        @wraps(command)
        def run(**given: Any) -> None:
            results = {
                name: function(**{option: given.pop(option) for option in shared[name]})
                for name, function in made.items()
            }
            command(**given, **results)

        every = [each for name, one in own.parameters.items() for each in shared.get(name, {name: one}).values()]
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in every]  # as typer calls it
        vars(run)["__signature__"] = own.replace(parameters=parameters)
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate
