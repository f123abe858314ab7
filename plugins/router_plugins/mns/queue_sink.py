"""The sink `mns_queue`: events into an MNS queue, up to 16 in one call (PROTOCOL 1.6).

| what the service says | outcome |
|---|---|
| 201 | delivered; what it lists as failed has an outcome of its own |
| a Code that is about the message (`InvalidArgument`, `MalformedXML`) | `Reject`; a batch is sent one by one first |
| no access, no such key or queue | `Reject` that holds the subscription: the messages are not at fault |
| any other Code: too fast, the clock, its own failure | `Retry`: nor are they here |
| no answer, or one that makes no sense | `Retry`; it may have been stored, so the message can come twice |
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from router import Batch, ConfigError, Deliver, Event, Reject, Retry, Secret, Sink
from router.units import Duration
from router_plugins.failures import raise_for
from router_plugins.mns.access import access_of
from router_plugins.mns.client import QueueClient, Retries
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.credentials import CredentialsError
from router_plugins.mns.errors import MnsError, MnsUnreachableError
from router_plugins.mns.wire import Fault

MOST = 16
"""Messages in one call (PROTOCOL 1.6)."""
LARGEST = 65536
"""Bytes of one message, and of all in one call together (PROTOCOL 1.6, 1.7)."""
_LONGEST_DELAY = 604800
_OF_THE_MESSAGE = frozenset({"InvalidArgument", "MalformedXML"})
"""Codes for which the same message would be refused again (PROTOCOL 1.8)."""
_OF_THE_QUEUE = frozenset({
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurityToken", "SecurityTokenExpired",
    "QueueNotExist", "QueueDeletedRecently", "InvalidQueueName", "QueueNameLengthError",
})  # fmt: skip
"""Codes for which everything would be refused, until key, rights or queue are other ones."""
_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""
_ONCE = Retries(attempts=1)
"""The engine tries again, and knows when."""


class MnsQueueSink(Sink, frozen=True, kw_only=True):
    """Send a message for every event."""

    batch: ClassVar[int] = MOST
    in_flight: ClassVar[int] = 8
    reads_only: ClassVar[bool] = True

    endpoint: str
    """`https://ACCOUNT.mns.REGION.aliyuncs.com`."""
    queue: str
    """The queue's name."""
    access_key_id: str = ""
    """The key that may send to the queue."""
    access_key_secret: Secret = Secret("")
    """Its secret."""
    security_token: Secret | None = None
    """The token that belongs to a temporary key (STS)."""
    credentials_file: Path | None = None
    """Instead of these: JSON `{AccessKeyId, AccessKeySecret, SecurityToken, Expiration}`, read when it changes."""
    credentials_uri: Secret | None = None
    """Or an address that gives the same, renewed ahead of the expiration."""
    signature: Literal["v2", "v4"] = "v2"
    """The version of requests' signatures; v4 needs the `region`."""
    region: str = ""
    """The region's name in a v4 signature: `cn-hangzhou`."""
    form: Literal["json", "raw"] = "json"
    """Flat JSON, or the message as it came."""
    base64: bool = False
    """Whether bodies are sent in base64, as the Python and Java SDKs expect them unless told otherwise."""
    delay: Duration = 0.0
    """Seconds until a message can be received; whole ones, up to 7 days."""
    priority: Annotated[int, msgspec.Meta(ge=1, le=16)] = 8
    """1 is received first."""

    def check(self) -> None:
        """Refuse an endpoint, a key or a delay that cannot be used."""
        access_of(self).check()
        if "{" in self.queue or "}" in self.queue:
            raise ConfigError("queue", "takes no fields in braces", "a subscription for each queue")
        if self.delay > _LONGEST_DELAY or self.delay != int(self.delay):
            raise ConfigError("delay", "must be whole seconds, up to 7 days")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Keep connections open between calls."""
        complain = Complaints(lambda _: None, f"trouble with the queue {self.queue}")
        async with access_of(self).open(_ONCE, complain) as client:

            async def deliver(batch: Batch) -> None:
                await self._deliver(client, batch)

            yield deliver

    async def _deliver(self, client: QueueClient, batch: Batch) -> None:
        errors: dict[int, Retry | Reject] = {}
        bodies: dict[int, str] = {}
        for index, event in enumerate(batch):
            try:
                bodies[index] = self._body(event)
            except Reject as refusal:
                errors[index] = refusal
        errors |= await self._send_in_turn(client, _parts(bodies))
        raise_for(errors, len(batch))

    async def _send_in_turn(self, client: QueueClient, parts: Iterable[Mapping[int, str]]) -> dict[int, Retry | Reject]:
        """Send one part after the other; what follows one to try again is not tried, which keeps the order."""
        errors: dict[int, Retry | Reject] = {}
        again: Retry | None = None
        for part in parts:
            errors |= await self._send(client, part) if again is None else dict.fromkeys(part, again)
            stop = next((error for error in errors.values() if isinstance(error, Retry) or error.hold), None)
            again = stop if stop is None or isinstance(stop, Retry) else Retry(stop.reason, None, stop.status)
        return errors

    def _body(self, event: Event) -> str:
        """Return what is sent for an event; raise `Reject` for what no message can hold."""
        octets = bytes(event.raw) if self.form == "raw" else event.json()
        if self.base64:
            text = b64encode(octets).decode()
        else:
            try:
                text = octets.decode()
            except UnicodeDecodeError as error:
                raise Reject("is no UTF-8, which a message must be: set base64") from error
            if (found := _UNSPEAKABLE.search(text)) is not None:
                raise Reject(f"has {found.group()!r}, which XML cannot carry: set base64")
        if not text:
            raise Reject("is empty, which no message can be")
        if len(text.encode()) > LARGEST:
            raise Reject(f"larger than {LARGEST} bytes")
        return text

    async def _send(self, client: QueueClient, part: Mapping[int, str]) -> dict[int, Retry | Reject]:
        """Send up to 16 messages in one call; return what went wrong, by index."""
        try:
            outcomes = await client.send_batch(list(part.values()), delay=int(self.delay), priority=self.priority)
        except MnsError as error:
            if error.code not in _OF_THE_MESSAGE:
                return dict.fromkeys(part, self._refusal(error.code, str(error), error.status))
            if len(part) == 1:
                return dict.fromkeys(part, Reject(str(error), error.status))
            return await self._send_in_turn(client, [{index: body} for index, body in part.items()])
        except (MnsUnreachableError, CredentialsError) as error:
            return dict.fromkeys(part, Retry(f"{self.queue}: {error}"))
        failed = zip(part, outcomes, strict=True)
        return {index: self._error(fault) for index, fault in failed if isinstance(fault, Fault)}

    def _error(self, fault: Fault) -> Retry | Reject:
        said = f"{fault.code}: {fault.message}"
        return Reject(said) if fault.code in _OF_THE_MESSAGE else self._refusal(fault.code, said, None)

    def _refusal(self, code: str, said: str, status: int | None) -> Retry | Reject:
        """Return the error for what is not the message's fault."""
        reason = f"{self.queue}: {said}"
        return Reject(reason, status, hold=True, always=True) if code in _OF_THE_QUEUE else Retry(reason, status=status)


def _parts(bodies: Mapping[int, str]) -> Iterator[dict[int, str]]:
    """Cut into what one call takes."""
    part: dict[int, str] = {}
    size = 0
    for index, body in bodies.items():
        octets = len(body.encode())
        if len(part) == MOST or (part and size + octets > LARGEST):
            yield part
            part, size = {}, 0
        part[index] = body
        size += octets
    if part:
        yield part
