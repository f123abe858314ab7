"""What is known of topics: the partitions of those that are there, and for a moment which are not.

A template may name a topic that nobody made, and asking for it takes a round trip each time; so a topic that was not
found is not asked for again for a while, and its events fail at once. Facts about aiokafka 0.14 that this is built on:
* `partitions_for` asks again until a request's timeout is over, for a topic that does not exist as for one that is new.
* An answer to a question that was under way already says nothing of a topic that was added behind it.
* What was asked for once is asked for in every later update, and logged as an error each time, until it is taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import anyio
import msgspec

from router_plugins.kafka.producer import Client

FIND = 5.0
"""Seconds in which brokers must say whether a topic is there."""
PAUSE = 0.25
"""Seconds until a topic that is not there is asked for again; doubled each time, up to `LONGEST`."""
LONGEST = 5.0
_AGAIN = 0.1
"""Seconds until brokers are asked again that did not answer."""
_MOST = 10_000
"""Topics that are remembered not to be there; a template with a recipient in it names any number."""


class _Absence(msgspec.Struct, frozen=True):
    until: float
    pause: float
    reason: str


class Topics:
    """Outlives clients. Times are on the clock of the loop."""

    def __init__(self) -> None:
        self._absent: dict[str, _Absence] = {}
        self._asking = anyio.Lock()

    def absent(self, topic: str) -> str:
        """Say why nothing can be sent to a topic, if that is known for now."""
        absence = self._absent.get(topic)
        return absence.reason if absence and anyio.current_time() < absence.until else ""

    def refuse(self, topic: str, reason: str) -> None:
        """Remember for a while that nothing can be sent to a topic."""
        if len(self._absent) >= _MOST:
            self._absent.clear()
        before = self._absent.get(topic)
        pause = min(2 * before.pause, LONGEST) if before else PAUSE
        self._absent[topic] = _Absence(anyio.current_time() + pause, pause, reason)

    async def find(self, client: Client, topics: Iterable[str]) -> None:
        """Ask for topics that the client does not know; those that are not there are `absent` then."""
        async with self._asking:
            unknown = [topic for topic in topics if not self.absent(topic) and not partitions_of(client, topic)]
            if not unknown or not await self._ask(client, unknown):
                return
            missing = [topic for topic in unknown if not partitions_of(client, topic)]
            for topic in missing:
                self.refuse(topic, f"there is no topic {topic}, or this user may not see it")
            for topic in set(unknown).difference(missing):
                self._absent.pop(topic, None)
            if missing and (known := client.cluster.topics()):
                client.set_topics(known)

    async def _ask(self, client: Client, topics: Sequence[str]) -> bool:
        """Ask the brokers; say whether one answered. A second answer counts for what is not in the first."""
        for topic in topics:
            client.add_topic(topic)
        answers = 0
        with anyio.move_on_after(FIND):
            while answers < 2:  # noqa: PLR2004 - see above
                if await client.force_metadata_update():
                    answers += 1
                    if all(partitions_of(client, topic) for topic in topics):
                        break
                else:
                    await anyio.sleep(_AGAIN)
        return answers > 0


def partitions_of(client: Client, topic: str) -> Sequence[int]:
    """Return the numbers of a topic's partitions, as far as the client knows."""
    return sorted(client.cluster.partitions_for_topic(topic) or ())
