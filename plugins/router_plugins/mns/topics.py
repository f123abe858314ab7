"""Which topic a push comes from, and whether it is one of those that are wanted.

A push names its topic's owner and name, but not its region: in `x-mns-` headers (SIMPLIFIED), or in the envelope
that is its body (XML, JSON). A body counts only where the signed Content-Type says that it is an envelope, since
the body of a SIMPLIFIED push is whatever the publisher wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate

import msgspec

from router_plugins.mns import wire

_PARTS = 5


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


def topic_of(headers: Mapping[bytes, bytes], body: bytes) -> Topic:
    """Return the topic that a push names; an empty one where it names none. `headers` have lower-cased names."""
    name = headers.get(b"x-mns-topic-name")
    if name is not None:
        return Topic(_text(headers.get(b"x-mns-topic-owner", b"")), _text(name))
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind == b"application/json":
        return _topic_of_json(body)
    if kind in {b"text/xml", b"application/xml"}:
        return _topic_of_xml(body)
    return Topic()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _topic_of_json(body: bytes) -> Topic:
    try:
        return msgspec.json.decode(body, type=Topic)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Topic()


def _topic_of_xml(body: bytes) -> Topic:
    """Read the envelope by local names: its namespace varies (PROTOCOL 1.5)."""
    try:
        root = wire.read(body)
    except ValueError:
        return Topic()
    texts = {child.tag.rpartition("}")[2]: child.text or "" for child in reversed(root)}
    return Topic(texts.get("TopicOwner", ""), texts.get("TopicName", ""))
