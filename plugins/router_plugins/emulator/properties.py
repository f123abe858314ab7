"""What a message carries beside its body: the user's own properties, and the service's (PROTOCOL 2.6, 8.1)."""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING

import msgspec

from router_plugins.emulator import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class Property(msgspec.Struct, frozen=True, gc=False):
    """One property; `type` is STRING, NUMBER, BOOLEAN or BINARY, which means base64."""

    name: str
    value: str
    type: str = "STRING"


class Properties(msgspec.Struct, frozen=True, gc=False):
    """The properties of a message, in the order of sending."""

    system: tuple[Property, ...] = ()
    user: tuple[Property, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.system or self.user)

    def nodes(self) -> xml.Nodes:
        """Return the elements for a message: those of the system first, or the PHP SDK misses them."""
        groups = (
            ("SystemProperties", "SystemPropertyValue", self.system),
            ("UserProperties", "PropertyValue", self.user),
        )
        return [
            xml.branch(name, [xml.branch(inner, _leaves(one)) for one in properties])
            for name, inner, properties in groups
            if properties
        ]


NONE = Properties()


def properties_of(message: Element) -> Properties:
    """Read the properties of a message that is sent or published."""
    return Properties(_read(message, "SystemProperties"), _read(message, "UserProperties"))


def dead_letter(properties: Properties, kind: str, source: str, message_id: str) -> Properties:
    """Return the properties of a dead letter. Their names are documented (PROTOCOL 2.6), their values are not."""
    values = {"DLQMessageType": kind, "DLQSourceArn": source, "DLQOriginMessageId": message_id}
    earlier = [one for one in properties.system if one.name not in values]
    return Properties((*earlier, *(Property(name, value) for name, value in values.items())), properties.user)


def body_md5(body: bytes, properties: Properties) -> str:
    """Return `MessageBodyMD5`: of the body, and of something else once there are user properties (PROTOCOL 8.1).

    The service's formula is not known. This one is the emulator's, so that nobody here relies on it to be the body's.
    """
    digest = md5(body, usedforsecurity=False)
    for one in properties.user:
        digest.update(f"{one.name}{one.type}{one.value}".encode(errors="replace"))
    return digest.hexdigest().upper()


def _leaves(one: Property) -> xml.Nodes:
    return [xml.leaf("Name", one.name), xml.leaf("Value", one.value), xml.leaf("Type", one.type)]


def _read(message: Element, name: str) -> tuple[Property, ...]:
    found = (xml.texts(value) for child in message if xml.local_name(child) == name for value in child)
    return tuple(Property(one.get("Name", ""), one.get("Value", ""), one.get("Type", "STRING")) for one in found)
