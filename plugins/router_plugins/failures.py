"""The one error that a sink raises, from what became of each event of its batch."""

from __future__ import annotations

from collections.abc import Mapping

from router import Partial, Reject, Retry


def raise_for(errors: Mapping[int, Retry | Reject], size: int, marks: Mapping[str, int] | None = None) -> None:
    """Raise for the events of a batch of `size` that failed, by index; return when none did.

    `marks` are the sink's own positions that the others changed.

    `Retry` for all of them is raised as `Retry`, since then it is the destination that fails; the error of a single
    event as it is; anything else as `Partial`.
    """
    if not errors:
        return
    first = min(errors)
    if size == 1 or (len(errors) == size and all(isinstance(error, Retry) for error in errors.values())):
        raise errors[first]
    raise Partial(errors, marks)
