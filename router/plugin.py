"""What a plugin is: a struct whose fields are its YAML, and one verb.

`Deliver = async (Batch) -> None` runs through everything: returning is the ack, raising is the nack.
A source is given an `Emit`, a sink yields a `Deliver`. A plugin's running state lives in the locals of
`run()` and `open()`, never in its fields.

A plugin class is a `msgspec.Struct`; unknown keys in the YAML are refused by the config. Subclass like this:

    class Printer(Sink, frozen=True, kw_only=True):
        '''Print every event.'''

        prefix: str = ""

        async def deliver(self, batch: Batch) -> None: ...
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, tzinfo
from socket import socket
from typing import Annotated, Any, ClassVar, Self, TypeAlias

import msgspec

from router.event import Batch, Event, Message
from router.values import Values

ID = 32
"""Characters of an event's id."""

Deliver: TypeAlias = Callable[[Batch], Coroutine[Any, Any, None]]
"""Deliver a batch. Raises `Retry`, `Reject` or `Partial`; anything else counts as `Retry`."""

Emit: TypeAlias = Callable[[Sequence[Message]], Coroutine[Any, Any, None]]
"""Hand messages in. Returns when they are safe on disk; raises `Retry` when they could not be stored."""

Count: TypeAlias = Callable[[str], None]
"""Count something worth showing in `router status` (`bad_signature`), once per call."""


class Ready:
    """What a source of the daemon calls when messages can arrive, and when they no longer can."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def __call__(self) -> None:
        """Say that messages can arrive."""
        self._tell("")

    def lost(self, why: str) -> None:
        """Say that they cannot, and why, until it is called again: the source goes on trying."""
        self._tell(why)


def tell(ready: Callable[[], None], trouble: str) -> None:
    """Say to a source's `ready` that messages can arrive, or, if it wants to know, what keeps them from it."""
    if not trouble:
        ready()
    elif isinstance(ready, Ready):
        ready.lost(trouble)


class Secret(str):
    """A text that is shown as `***`; in YAML a scalar, `${VAR}` or `{file: path}`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Plugin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of plugin shares: nothing but being configured by its fields."""

    def check(self) -> None:
        """Refuse values that types cannot; raise `ConfigError` with the field's name as the place."""


class Source(Plugin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes messages in.

    One that is `parallel` may run in several processes at once, the fronts: each does `run_on` with what `divided`
    gives. If it listens, its address (HOST:PORT), or several, is its field `listen`, and it is given sockets of it,
    there or here.
    """

    parallel: ClassVar[bool] = False
    """Whether it may run in several processes at once."""

    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Processes that it runs in, beside the one that stores and delivers; 0: in that one."""

    @abstractmethod
    async def run(self, emit: Emit, ready: Callable[[], None], count: Count) -> None:
        """Take messages in until cancelled.

        Call `ready()` once when messages can arrive. `await emit(messages)`, then ack upstream; when it
        raises `Retry`, do not ack, and ask upstream to come again after `error.after` seconds. The daemon gives a
        `Ready`: one that is refused and goes on trying says so by `ready.lost(why)`, and by `ready()` when it works.
        """
        raise NotImplementedError

    async def run_on(self, sockets: Sequence[socket], emit: Emit, ready: Callable[[], None], count: Count) -> None:  # noqa: ARG002
        """Do as `run` does, with sockets that listen already at the address that is `listen`, if there are any.

        They are its own, to close; the daemon has copies, so that no client is refused while a source is exchanged.
        """
        await self.run(emit, ready, count)

    def examine(self, captured: bytes) -> tuple[bool, Sequence[str]]:
        """Say whether a captured request would be taken, and in lines why, without any network: for `router doctor`.

        Raises ValueError for what is no request, `NotImplementedError` where there is nothing to examine.
        """
        raise NotImplementedError

    def divided(self, processes: int) -> Self:  # noqa: ARG002
        """Return what each of so many processes runs: limits that are meant for all of them, divided."""
        return self


class Decoder(Plugin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Turns a message into an event."""

    fields: ClassVar[type[msgspec.Struct]]
    """The struct of the events' fields; its names are what a `match` may speak of."""
    account: ClassVar[str]
    """The field that says whose result it is."""
    narrow: ClassVar[frozenset[str]] = frozenset()
    """Fields with few distinct values (region, status): conditions on them are decided once and remembered."""
    types: ClassVar[Mapping[str, str]] = {}
    """Every known name of an event type, to the canonical one (`dm:Deliver:Fail` -> `Deliver:SendFailed`)."""
    values: ClassVar[Mapping[str, Values]] = {}
    """The texts that fields can have, where that is more than their types say (under `type`: types without a known
    name). A config that compares a field with another text is refused: it could never match."""
    synonyms: ClassVar[Mapping[str, str]] = {}
    """What else people call a field, in lower case, to its name (`recipient` -> `rcpt`): for hints."""

    vouches: ClassVar[bool] = False
    """Whether its author vouches for every event: then none is looked at, which saves about 3 us for each, and a fault
    in one may cost others."""

    @abstractmethod
    def decode(self, message: Message, source: str) -> Event:
        """Return the event, whose id is 32 of 0-9 and a-f. Pure and deterministic; raises `Undecodable`, nothing else.

        Whatever else it raises or returns makes the message `Undecodable`, too, with a reason that names the plugin.
        """
        raise NotImplementedError

    def zone(self) -> tzinfo:
        """Return the zone of times that name none, in messages as in the config and its commands."""
        return UTC

    def restore(self, message: Message, source: str, name: str) -> Event:
        """Return the event of a message that was journalled under the id `name`, which it keeps.

        As `decode`, which the default uses; a decoder whose ids are dear can leave them out here.
        """
        event = self.decode(message, source)
        if type(event) is not Event or not is_id(event.id):  # that is refused, as when it came in
            return event
        return event if event.id == name else msgspec.structs.replace(event, id=name)


def is_id(name: str) -> bool:
    """Say whether a journal can keep it."""
    try:
        return len(name) == ID and bytes.fromhex(name).hex() == name
    except (TypeError, ValueError):
        return False


class Step(Plugin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes the form of an event on its way to one subscription.

    One that `renames` may give it another id, for what is written at the destination: the journal, the books and dead
    letters keep the event's own. It is made of the event's own and of nothing else (`renamed`), so that the same result
    has the same one whenever it is tried, replayed or delivered again; and no two events may get one.
    """

    renames: ClassVar[bool] = False
    """Whether it may give an event another id."""

    @abstractmethod
    def apply(self, event: Event) -> Event | None:
        """Return the event, a new one with the same id (or with that of `renamed`), or None to leave it out. Pure."""
        raise NotImplementedError

    def renamed(self, name: str) -> str:
        """Return the id, 32 of 0-9 and a-f, that an event with the id `name` gets. Pure; for a step that `renames`."""
        return name

    def added(self) -> Collection[str] | None:
        """Return the names of fields that events may have behind it and not before; None, the default, for any.

        What stands behind it in the config (`to`, `delivery`) is compared with them, if they are known.
        """
        return None


class Marks(dict[str, int]):
    """A sink's own positions, as the engine hands them to `Sink.resume`."""

    async def keep(self, marks: Mapping[str, int]) -> None:
        """Have positions committed at once, with all that is delivered; raises `Retry` where that cannot be.

        For what must be known of a place before anything is delivered there, such as which file it is.
        """
        raise NotImplementedError


Placed: TypeAlias = Callable[[Batch], Coroutine[Any, Any, Mapping[str, int]]]
"""Deliver a batch, as `Deliver` does, and return the sink's own positions that this changed.

A `Partial` that it raises has those in its `marks`.
"""


class Sink(Plugin, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Delivers batches to one destination. Implement `deliver`, or `open` where there is a connection.

    The class variables are what suits the sink; a subscription's `delivery:` may set others.
    """

    batch: ClassVar[int] = 500
    """Events in one call at most."""
    in_flight: ClassVar[int] = 1
    """Calls under way at once at most."""
    pace: ClassVar[float] = 0.0
    """Seconds that new events wait since the last call for company, up to a whole batch: for destinations where a call
    costs much more than an event in it. What comes alone waits for nothing."""
    reads_only: ClassVar[bool] = False
    """Whether it is known to leave events and batches as they are: then they are not made immutable for it, which takes
    half a microsecond an event."""
    keeps_positions: ClassVar[bool] = False
    """Whether `resume` opens it at its own positions; then everything is delivered in order, one call at a time."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Yield a `Deliver` that is used until the block ends; close what was opened when it does."""
        yield self.deliver

    async def deliver(self, batch: Batch) -> None:
        """Deliver the batch; return when all of it is safe at the destination."""
        raise NotImplementedError

    def resume(self, marks: Mapping[str, int]) -> AbstractAsyncContextManager[Placed] | None:  # noqa: ARG002
        """Open at the sink's own positions, if it keeps any: then nothing is delivered to it twice.

        `marks` are the positions (such as the lengths of files) that were committed last, in one transaction with
        the subscription's progress; the engine's are `Marks`. What lies beyond them at the destination was delivered
        but not committed: it must be undone, for it comes again. Those may be missing that changed last before
        anything was delivered of which the journal still has the event. Calls come one at a time and in order. None,
        the default, says that the sink has none (`keeps_positions` is false); then `open` is used.
        """
        return None
