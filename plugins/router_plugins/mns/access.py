"""Where a queue is, with which key it is opened: what the source and the sink have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio

from router import ConfigError, Secret, Sink, Source
from router_plugins.mns.client import QueueClient, Retries, open_queue
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.credentials import Credentials, CredentialsError, CredentialsFile, Keys
from router_plugins.mns.credentials_uri import CredentialsUri

_KEYS = "access_key_id and access_key_secret, credentials_file, or credentials_uri"


class QueueAccess(NamedTuple):
    """The fields of the same names of `mns_queue`, the source and the sink."""

    endpoint: str
    queue: str
    access_key_id: str
    access_key_secret: Secret
    security_token: Secret | None
    credentials_file: Path | None
    credentials_uri: Secret | None
    signature: str
    region: str

    def check(self) -> None:
        """Refuse an endpoint that is no URL of a host, a queue without a name, and keys that are none."""
        parts = urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.path.strip("/"):
            raise ConfigError(
                "endpoint", f"{self.endpoint!r} is no endpoint", "https://ACCOUNT.mns.REGION.aliyuncs.com"
            )
        if not self.queue or "/" in self.queue:
            raise ConfigError("queue", f"{self.queue!r} is no name of a queue")
        if self.signature == "v4" and not self.region:
            raise ConfigError("region", "is needed for v4 signatures", "like cn-hangzhou")
        self._check_key()

    def _check_key(self) -> None:
        """Refuse two keys at once, half of one, and a file or an address that holds none."""
        key = bool(self.access_key_id), bool(self.access_key_secret)
        there = {
            "access_key_id": any(key) or self.security_token is not None,
            "credentials_file": self.credentials_file is not None,
            "credentials_uri": self.credentials_uri is not None,
        }
        given = [name for name, is_there in there.items() if is_there]
        if len(given) > 1:
            raise ConfigError(given[-1], "stands beside another access key", f"give one of: {_KEYS}")
        if given in ([], ["access_key_id"]) and key != (True, True):
            raise ConfigError("access_key_id", "a key needs its id and its secret", f"give one of: {_KEYS}")
        if self.credentials_file is not None:
            try:
                CredentialsFile(self.credentials_file, _silent).current()
            except CredentialsError as error:
                raise ConfigError("credentials_file", str(error), "JSON {AccessKeyId, AccessKeySecret, ...}") from error
        if self.credentials_uri is not None:
            parts = urlsplit(self.credentials_uri)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ConfigError("credentials_uri", "is no http or https URL", "such as http://127.0.0.1:7002/key")

    @asynccontextmanager
    async def open(self, retries: Retries, complain: Complaints) -> AsyncGenerator[QueueClient]:
        """Yield a client of the queue, whose key is renewed beside it where it comes from an address."""
        region = self.region if self.signature == "v4" else ""
        async with AsyncExitStack() as stack:
            keys: Keys
            if self.credentials_uri is not None:
                keys = await stack.enter_async_context(_kept_fresh(self.credentials_uri, complain))
            elif self.credentials_file is not None:
                keys = CredentialsFile(self.credentials_file, complain)
            else:
                keys = Credentials(self.access_key_id, self.access_key_secret, self.security_token)
            yield await stack.enter_async_context(
                open_queue(self.endpoint, self.queue, keys, retries=retries, region=region)
            )


def _silent(_kind: str, /, **_details: object) -> None:
    """Take no note: what is wrong with a file that is only checked is raised."""


def access_of(plugin: Source | Sink) -> QueueAccess:
    """Return the fields of `mns_queue` that say where the queue is, and with which key."""
    return QueueAccess(**{field: getattr(plugin, field) for field in QueueAccess._fields})


@asynccontextmanager
async def _kept_fresh(uri: Secret, complain: Complaints) -> AsyncGenerator[CredentialsUri]:
    """Yield the key of an address after the first try to get it."""
    keys, asked = CredentialsUri(uri), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keys.keep_fresh, complain, asked.set)
        await asked.wait()
        yield keys
        tasks.cancel_scope.cancel()
