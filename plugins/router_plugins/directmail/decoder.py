"""The `directmail` decoder: one event for every form in which a DirectMail result arrives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import ClassVar

import msgspec

from router import ConfigError, Decoder, Event, Message, Values
from router_plugins.charsets import text_from
from router_plugins.directmail.cloudevents import CloudEvent, fields_of
from router_plugins.directmail.envelope import unwrap
from router_plugins.directmail.fields import Result, shown_of
from router_plugins.directmail.identity import id_of_cloud_event, id_of_data, id_of_delivery, id_of_text
from router_plugins.directmail.moments import moment, zone_of
from router_plugins.directmail.names import DELIVERIES, TYPES, type_of_cloud_event, type_of_text
from router_plugins.directmail.partial import announced_in
from router_plugins.directmail.text import parse, strict
from router_plugins.directmail.vocabulary import SYNONYMS, VALUES
from router_plugins.mending import is_odd, original, shown


class DirectMail(Decoder, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decode DirectMail results: the legacy text and CloudEvents, bare or in envelopes, told apart per message."""

    timezone: str = "+08:00"
    """The zone of times that name none: an offset, or a name like `Asia/Shanghai`."""

    fields: ClassVar[type[msgspec.Struct]] = Result
    account: ClassVar[str] = "account"
    narrow: ClassVar[frozenset[str]] = frozenset((
        "account", "from", "status", "event", "region", "err_code", "failed_type", "esp", "channel_name", "tag",
        "ip_pool_id", "is_dedicated_ip", "fbl_isp",
    ))  # fmt: skip
    types: ClassVar[Mapping[str, str]] = TYPES
    values: ClassVar[Mapping[str, Values]] = VALUES
    synonyms: ClassVar[Mapping[str, str]] = SYNONYMS
    vouches: ClassVar[bool] = True

    def check(self) -> None:
        """Refuse a zone that does not exist."""
        try:
            zone_of(self.timezone)
        except ValueError as error:
            raise ConfigError(
                "timezone", str(error), "write an offset like +08:00 or a name like Asia/Shanghai"
            ) from error

    def zone(self) -> tzinfo:
        """Return the zone of times that name none."""
        return zone_of(self.timezone).tz

    def decode(self, message: Message, source: str) -> Event:
        """Return the event of a message in any of the forms of PROTOCOL 2.5; raises `Undecodable`.

        Bytes that are not UTF-8 show as replacement characters in the fields; `message` keeps them.
        """
        return self.restore(message, source, "")

    def restore(self, message: Message, source: str, name: str) -> Event:
        """Return the event under the id `name`; an empty one is made from what the message says."""
        try:
            text = str(message.body, "utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            return self._unwrapped(_text_of(message), message, source, name)
        fields = strict(text)  # most messages; none that needs unwrapping matches
        if fields is None:
            return self._unwrapped(text, message, source, name)
        kind = type_of_text(fields.event, fields.status)
        identity = name or _business_id(kind, fields) or id_of_text(text)
        return Event(identity, kind, self._time(kind, fields, "", message), source, fields, message)

    def _unwrapped(self, text: str, message: Message, source: str, name: str) -> Event:
        """Return the event of any form; the id is that of the bytes, and the fields are made fit to be shown."""
        text, cloud = unwrap(text, announced_in(message.attributes))
        odd = is_odd(text)
        fields = parse(text) if cloud is None else fields_of(cloud, odd=odd)
        seen = shown_of(fields) if odd else fields
        kind = _kind_of(seen, cloud)
        identity = name or _business_id(kind, fields) or _id_of(text, cloud)
        published = "" if cloud is None else cloud.time or ""
        return Event(identity, kind, self._time(kind, seen, published, message), source, seen, message)

    def _time(self, kind: str, fields: Result, published: str, message: Message) -> datetime:
        """Return when it happened: the best of the times that can be read, at last the one of arrival.

        In what is not a delivery's result, end_time says when the mail was delivered, not when it was opened.
        """
        zone = zone_of(self.timezone)
        if kind in DELIVERIES:
            known = moment(fields.end_time, zone) or moment(fields.recv_time, zone) or moment(published, zone)
        else:
            known = (
                moment(fields.operate_time, zone)
                or moment(fields.block_time, zone)
                or moment(published, zone)
                or moment(fields.end_time, zone)
            )
        return known or datetime.fromtimestamp(message.received, zone.tz)


def _text_of(message: Message) -> str:
    return text_from(message.body, message.attributes.get("content_type", ""))


def _kind_of(fields: Result, cloud: CloudEvent | None) -> str:
    """Return the type; an event of which only the data came may have none but what its fields say."""
    if cloud is None or not cloud.type:
        return type_of_text(fields.event, fields.status)
    return type_of_cloud_event(shown(cloud.type))


def _business_id(kind: str, fields: Result) -> str:
    """Return the id of a delivery's result; empty for other events, and where a part of the key is missing."""
    if kind in DELIVERIES and fields.env_id and fields.rcpt and fields.status and fields.end_time:
        return id_of_delivery(fields.env_id, fields.rcpt, fields.status, fields.end_time)
    return ""


def _id_of(text: str, cloud: CloudEvent | None) -> str:
    """Return the id of what has no business key: of a CloudEvent its own, else that of what it says."""
    if cloud is None:
        return id_of_text(text)
    if cloud.source and cloud.id:
        return id_of_cloud_event(cloud.source, cloud.id)
    data = str(cloud.data, "utf-8")
    data = original(data) if is_odd(text) else data
    return id_of_data(cloud.type, cloud.source, cloud.id, data) if data.strip("{} \t\r\n") else id_of_text(text)
