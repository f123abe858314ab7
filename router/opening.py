"""Opening: a sink is opened, at its own positions if it keeps any, noted after each call, failed in part or not.

Here the engine meets code of others, and makes sure of what it relies on: a call ends by returning nothing, or by an
error that has a meaning, and ends nothing but itself; events stay as they are; and what goes wrong at opening and
closing is told apart from what goes wrong in between.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from types import CoroutineType, TracebackType
from typing import Any, TypeAlias, TypeGuard, cast

import structlog

from router.books import Books
from router.errors import Partial, Reject, Retry, RouterError, is_cancellation, leaves, told
from router.event import Batch
from router.frozen import FrozenList
from router.journal import Change
from router.plugin import Deliver, Marks, Sink
from router.tally import Tally

log = structlog.get_logger("delivery")


class Trouble(RouterError):
    """A sink failed outside of a call: `said` is when, in the words of the log; its cause is what it raised."""

    def __init__(self, said: str, sink: Sink, why: str) -> None:
        super().__init__(f"{type(sink).__name__}: {why}")
        self.said = said


class _Kept(Marks):
    """Positions that can be committed at once."""

    def __init__(self, books: Books, tally: Tally) -> None:
        super().__init__(books.marks())
        self._books = books
        self._tally = tally

    async def keep(self, marks: Mapping[str, int]) -> None:
        """Commit all that is settled, and these."""
        self._tally.note()
        self._tally.mark(marks)
        self._books.commit(self._tally.progress, Change(marks=marks))
        await self._books.flush()


@asynccontextmanager
async def opened(sink: Sink, books: Books, tally: Tally) -> AsyncGenerator[Deliver]:
    """Yield what delivers to the sink while it is open; raises `Trouble` for what it raises itself."""
    async with AsyncExitStack() as stack:
        deliver, keeps = await _open(stack, sink, _Kept(books, tally))
        known: _Known = set()

        async def mark(batch: Batch) -> None:
            try:
                marks = await _called(sink, deliver, known, batch, keeps=True)
            except Partial as error:
                tally.mark(error.marks)
                raise
            if not _are_marks(marks):
                raise Retry(f"the sink {type(sink).__name__} returned {marks!r}, not its positions"[:300])
            tally.mark(marks)

        yield mark if keeps else cast("Deliver", partial(_called, sink, deliver, known))  # costs no call of its own


def trouble(error: Exception) -> tuple[str, str, BaseException | None]:
    """Return what to say of an error that ended a sink's block: when, what, and what of it deserves a traceback."""
    found = leaves(error)
    if all(isinstance(one, Trouble) for one in found):
        causes = [leaf for one in found if one.__cause__ for leaf in leaves(one.__cause__)]
        unexpected = [one for one in causes if not isinstance(one, RouterError | OSError)]
        return getattr(found[0], "said", ""), told(error), unexpected[0] if unexpected else None
    return "delivery broke, it starts again", told(error), error


_Call: TypeAlias = Any
"""What a sink yields, before it is known to be a `Deliver`."""
_Known: TypeAlias = set[tuple[object, ...]]
"""The kinds of errors whose traceback is in the log already."""


async def _open(stack: AsyncExitStack, sink: Sink, marks: Marks) -> tuple[_Call, bool]:
    """Enter the sink's block; return what it yields, and whether that returns positions."""
    try:
        resumed = sink.resume(marks)
        block: Any = sink.open() if resumed is None else resumed  # whatever a plugin makes of them
        if not isinstance(block, AbstractAsyncContextManager):
            if inspect.iscoroutine(block):
                block.close()
            raise TypeError(f"it is opened by {type(block).__name__}, which is no async context manager")  # noqa: TRY301
        deliver: object = await stack.enter_async_context(_Block(sink, cast("AbstractAsyncContextManager[Any]", block)))
        if not callable(deliver):
            raise TypeError(f"it yields {type(deliver).__name__}, which cannot be called")  # noqa: TRY301
    except (Exception, SystemExit) as error:
        raise Trouble("sink does not open", sink, told(error)) from error
    return deliver, resumed is not None


class _Block(AbstractAsyncContextManager[Any]):
    """A sink's own block, which swallows no error of what is in it, and says when one comes out of itself."""

    def __init__(self, sink: Sink, block: AbstractAsyncContextManager[Any]) -> None:
        self._sink = sink
        self._block = block

    async def __aenter__(self) -> Any:
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._block.__aexit__(kind, error, trace)
        except (Exception, SystemExit) as problem:
            if problem is error:
                raise
            raise Trouble("sink failed while it was open or closed", self._sink, told(problem)) from problem


async def _called(sink: Sink, deliver: _Call, known: _Known, batch: Batch, *, keeps: bool = False) -> object:
    """Deliver a batch; raises `Retry`, `Reject` or a `Partial` that makes sense; cancellation where there was one.

    Returns what the sink does, which must be nothing unless it keeps positions.
    """
    if not sink.reads_only:
        batch = _frozen(batch)
    try:
        pending = deliver(batch)
        if type(pending) is not CoroutineType and not isinstance(pending, Awaitable):
            raise _Wrong(f"it returned {type(pending).__name__}, not a coroutine: `deliver` must be async")  # noqa: TRY301
        result: object = await cast("Awaitable[object]", pending)
        if result is not None and not keeps:
            said = f"the sink {type(sink).__name__} returned {type(result).__name__}, not None"
            raise Retry(f"{said}: it is not known what it delivered")  # noqa: TRY301
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if is_cancellation(error):
            raise
        meant = _meant(sink, error, len(batch), known)
        if meant is error:
            raise
        raise meant from error
    return result


class _Wrong(RouterError):
    """A sink did what it must not."""


def _frozen(batch: Batch) -> Batch:
    """Return the batch as one that can be changed in no part."""
    for event in batch:
        event.freeze()
    return batch if isinstance(batch, FrozenList) else FrozenList(batch)


def _meant(sink: Sink, error: BaseException, size: int, known: _Known) -> Retry | Reject | Partial:
    """Return what an error means for a batch; of several, the mildest."""
    found = leaves(error)
    name = type(sink).__name__
    for one in found:
        if not isinstance(one, RouterError | OSError) and (kind := _kind(one)) not in known:
            known.add(kind)
            log.warning("unexpected error of a plugin", plugin=name, error=told(one), exc_info=one)
    only = found[0] if len(found) == 1 else None
    if isinstance(only, Retry | Reject):
        return only
    if isinstance(only, Partial):
        fault = only.fault(size) or ("" if _are_marks(only.marks) else f"its marks are {only.marks!r}"[:200])
        return Retry(f"the sink {name} raised a Partial that makes no sense: {fault}") if fault else only
    if all(isinstance(one, Reject) for one in found):
        refusals = [one for one in found if isinstance(one, Reject)]
        return Reject(told(error), refusals[0].status, hold=any(one.hold for one in refusals))
    said = f"the sink {name} does not work: {told(error)}" if isinstance(error, _Wrong) else told(error)
    answers = [one.status for one in found if isinstance(one, Retry | Reject) and one.status is not None]
    return Retry(said, _longest(found), answers[0] if answers else None)


def _kind(error: BaseException) -> tuple[object, ...]:
    """Return what the tracebacks of such errors have in common."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return type(error), *((trace.tb_frame.f_code, trace.tb_lineno) if trace else ())


def _longest(errors: Sequence[BaseException]) -> float | None:
    return max((one.after for one in errors if isinstance(one, Retry) and one.after is not None), default=None)


def _are_marks(said: object) -> TypeGuard[Mapping[str, int]]:
    if not isinstance(said, Mapping):
        return False
    pairs = cast("Mapping[object, object]", said).items()
    return all(isinstance(name, str) and isinstance(place, int) for name, place in pairs)
