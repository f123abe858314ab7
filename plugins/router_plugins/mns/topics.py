"""Which topic a push comes from, and whether it is one of those that are wanted.

A push names its topic's owner and name, but not its region: in `x-mns-` headers (SIMPLIFIED), or in the envelope
that is its body (XML, JSON). A body counts only where the signed Content-Type says that it is an envelope, since
the body of a SIMPLIFIED push is whatever the publisher wrote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate

import msgspec

from router_plugins.charsets import text_from, trimmed
from router_plugins.mending import is_odd, mended_json, original, repaired_json
from router_plugins.mns import wire
from router_plugins.mns.http import content_of

_PARTS = 5
_LARGEST = 256 * 1024


class Topic(msgspec.Struct, frozen=True):
    """A topic as a push names it; empty where it does not."""

    owner: str = msgspec.field(name="TopicOwner", default="")
    name: str = msgspec.field(name="TopicName", default="")


class WantedTopics:
    """Globs over `acs:mns:{region}:{owner}:topics/{name}`. The region of a push is unknown and matches anything.

    Raises ValueError for a glob that has not these parts.
    """

    def __init__(self, globs: Sequence[str]) -> None:
        self._pattern = re.compile("|".join(_pattern(glob) for glob in globs) or r"(?!)")

    def __contains__(self, topic: Topic) -> bool:
        """Say whether the topic's owner and name match one of the globs."""
        return bool(topic.name) and self._pattern.match(f"{topic.owner}:topics/{topic.name}") is not None


def _pattern(glob: str) -> str:
    parts = glob.split(":", _PARTS - 1)
    if len(parts) != _PARTS or parts[:2] != ["acs", "mns"] or not parts[4].startswith("topics/"):
        raise ValueError(f"{glob!r} is not of the form acs:mns:REGION:OWNER:topics/NAME")
    if "{" in glob or "}" in glob:
        raise ValueError(f"{glob!r} takes no names in braces, but * for any text")
    return translate(f"{parts[3]}:{parts[4]}")


def topic_of(headers: Mapping[bytes, bytes], body: bytes, limit: int = _LARGEST) -> Topic:
    """Return the topic that a push names; an empty one where it names none. `headers` have lower-cased names.

    `limit`: bytes that a body may have without its content coding.
    """
    name = headers.get(b"x-mns-topic-name")
    if name is not None:
        return Topic(_text(headers.get(b"x-mns-topic-owner", b"")), _text(name))
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    read = _READERS.get(kind)
    if read is None:
        return Topic()
    try:
        return read(content_of(headers.get(b"content-encoding", b""), body, limit))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return Topic()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _topic_of_json(body: bytes) -> Topic:
    """Read the envelope as the decoder does; raises ValueError or `msgspec.DecodeError`."""
    text = trimmed(text_from(body).lstrip("\ufeff \t\r\n"))
    try:
        return _topic_in(text)
    except msgspec.DecodeError:
        return _topic_in(repaired_json(text) or text)


def _topic_in(text: str) -> Topic:
    if not is_odd(text):
        return msgspec.json.decode(text, type=Topic)
    topic = msgspec.json.decode(mended_json(text) or "", type=Topic)
    return Topic(original(topic.owner), original(topic.name))


def _topic_of_xml(body: bytes) -> Topic:
    """Read the envelope by local names: its namespace varies (PROTOCOL 1.5). Raises ValueError."""
    texts = {child.tag.rpartition("}")[2]: child.text or "" for child in reversed(wire.read(body))}
    return Topic(texts.get("TopicOwner", ""), texts.get("TopicName", ""))


_READERS: Mapping[bytes, Callable[[bytes], Topic]] = {
    b"application/json": _topic_of_json,
    b"text/xml": _topic_of_xml,
    b"application/xml": _topic_of_xml,
}
