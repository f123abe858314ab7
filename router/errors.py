"""What can go wrong, in the words that the engine and its plugins share.

Returning is the ack, raising is the nack: a sink (and the journal) says with `Retry`, `Reject` or
`Partial` what did not work; everything else that it raises counts as `Retry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RouterError(Exception):
    """An error of ours, meant to be shown to a user as one line."""


class Retry(RouterError):
    """Say that it did not work now and is worth another try.

    `reason` is for people; `after` is the number of seconds that the other side asked to wait.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Reject(RouterError):
    """Say that it will never work: the event becomes a dead letter with this `reason`."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Partial(RouterError):
    """Say that a batch worked but for some: `errors` maps the index in the batch to what went wrong.

    `marks` are the sink's own positions that the others changed, if it keeps any (`Sink.resume`).
    """

    def __init__(self, errors: Mapping[int, Retry | Reject], marks: Mapping[str, int] | None = None) -> None:
        super().__init__(f"{len(errors)} of the batch failed")
        self.errors = errors
        self.marks: Mapping[str, int] = marks or {}


class Undecodable(RouterError):
    """Say that a message is in no known form; the engine keeps it as an event of type `Undecodable`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def leaves(error: BaseException) -> Sequence[BaseException]:
    """Return the errors of a group of groups; of any other, itself."""
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error
        return [leaf for inner in group.exceptions for leaf in leaves(inner)]
    return [error]


def told(error: BaseException) -> str:
    """Say what went wrong, in one line: of a group, each different error once; ours without their type."""
    said = [str(one) if isinstance(one, RouterError) else f"{type(one).__name__}: {one}" for one in leaves(error)]
    return "; ".join(dict.fromkeys(text.removesuffix(": ") for text in said))


class ConfigError(RouterError):
    """A mistake in the config: `place` is the key's path (`sources.push.listen`), `hint` the likely fix."""

    def __init__(self, place: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{place}: {problem}" + (f" ({hint})" if hint else ""))
        self.place = place
        self.problem = problem
        self.hint = hint
