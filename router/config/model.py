"""The config as structs: what the YAML becomes, with its defaults.

Durations are in seconds, addresses are `HOST:PORT`.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from router.config.moment import moment
from router.errors import ConfigError
from router.journal import Journal
from router.match import ALWAYS, Condition
from router.meaning import FieldName, InputPath
from router.plugin import Decoder, Secret, Sink, Source, Step
from router.retry import SCHEDULE
from router.units import Duration, Size

Name: TypeAlias = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*\Z", description="a name of lower-case letters, digits, `-` and `_`")
]
"""A name that is also good for files, metrics and URLs."""


SHORTEST_TOKEN = 16
"""Characters."""


class Admin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the admin API listens, and the token (`Authorization: Bearer`) for what changes things or shows mails."""

    listen: str = "127.0.0.1:9464"
    token: Secret | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ConfigError("token", "a token so short can be guessed", "make one with `openssl rand -hex 16`")


class BreakerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """When the breaker before a destination opens, and for how long."""

    failures: Annotated[int, Meta(ge=2)] = 5
    """Failed calls in a row, of at least two batches."""
    rate: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Or this share of the last `window` calls."""
    window: Annotated[int, Meta(ge=2)] = 50
    open_min: Duration = 5.0
    open_max: Duration = 60.0
    """Nothing is tried for so long; then one probe is. Doubles while the probes fail."""


class PendingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription may have pending; beyond, its oldest events become dead letters of the kind `expired`.

    So its outage does not fill the journal, which is everybody's. None for no bound.
    """

    max_age: Duration | None = None
    """Since an event came in."""
    max_bytes: Size | None = None
    """Of the journal, from its oldest pending event on, whosever the events are."""

    def __post_init__(self) -> None:
        for name, bound in (("max_age", self.max_age), ("max_bytes", self.max_bytes)):
            if bound == 0:
                raise ConfigError(name, "nothing could ever wait", "leave it out for no bound")


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription delivers. Calls in flight and events in a call, at most: None for what suits its sink."""

    in_flight: Annotated[int, Meta(ge=1)] | None = None
    batch: Annotated[int, Meta(ge=1)] | None = None
    rate: Annotated[float, Meta(ge=0)] = 0.0
    """Events a second; 0 for no limit."""
    ordered: bool = False
    """In order; what fails holds up what is behind it, instead of being parked."""
    key: FieldName = ""
    """With `ordered`: a field; events of different values do not wait for each other."""
    tries: Annotated[int, Meta(ge=1)] = 3
    """Quick tries before an event is parked."""
    retry_min: Duration = 1.0
    retry_max: Duration = 60.0
    """The bounds of the pause before another quick try."""
    retry_after_max: Duration = 3600.0
    """The longest wait that is obeyed when the destination asks for one; over `retry_max`, it is waited for parked."""
    schedule: tuple[Duration, ...] = SCHEDULE
    """The pauses before each try of a parked event; behind the last it is a dead letter."""
    breaker: BreakerOptions = BreakerOptions()
    pending: PendingOptions = PendingOptions()
    alarm_after: Duration = 900.0
    """How long an event may be pending until the log and the metrics say so."""

    def __post_init__(self) -> None:
        if self.retry_min <= 0:
            raise ConfigError("retry_min", "a pause of nothing would never end trying", "such as 1s")
        if self.retry_min > self.retry_max:
            raise ConfigError("retry_max", f"{self.retry_max:g}s is less than `retry_min`, {self.retry_min:g}s")
        if self.key and not self.ordered:
            raise ConfigError("key", "has no effect without `ordered: true`", "add `ordered: true`")


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What a department wants to have, in what form, and where."""

    match: Condition = ALWAYS
    steps: tuple[Step, ...] = ()
    to: Annotated[Sink, Meta(description="a sink, such as `{type: file, path: results.jsonl}`")]
    delivery: Delivery = Delivery()
    start: str = "now"
    """Where it begins when it is new: `now`, `earliest`, a time, or how long ago; at what was stored since."""

    def __post_init__(self) -> None:
        if self.start not in {"now", "earliest"}:
            try:
                moment(self.start, 0.0)
            except ValueError as error:
                raise ConfigError("start", str(error), "or `now`, or `earliest`") from error


class Department(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of subscriptions. `accounts` are globs of senders; their results are shown to `shares_with`, too."""

    accounts: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    shares_with: tuple[str, ...] = ()
    subscriptions: dict[Name, Subscription] = {}


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What must become of a message: where it goes (`department/name`), and texts of its fields."""

    subscriptions: tuple[str, ...] | None = None
    fields: dict[FieldName, str] = {}


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A test of a config: a message as it would come, by the first source unless another is named."""

    name: str
    message: str
    source: str = ""
    expect: Expectation


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One router. `plugins` are folders with drop-ins; `state` is the folder of the journal.

    Relative paths, wherever they stand, begin in the folder of the config file.
    """

    plugins: tuple[str, ...] = ()
    state: InputPath = "state"
    grace: Duration = 20.0
    """Time for what is in flight after a SIGTERM."""
    watch: bool = False
    """Whether the daemon reloads by itself when this file, or one that holds a secret of it, has changed."""
    admin: Admin = Admin()
    journal: Journal
    decoder: Decoder
    sources: Annotated[dict[Name, Source], Meta(min_length=1, description="at least one source")]
    departments: Annotated[dict[Name, Department], Meta(min_length=1, description="at least one department")]
    rename: dict[str, str] = {}
    """Subscriptions (`department/name`) that have another name now: the old one, and the new one. All that is kept of
    them comes along; it may stay here when that is done."""
    tests: tuple[Trial, ...] = ()
    """What `router test` looks at."""
