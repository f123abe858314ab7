"""The `directmail` decoder: one event for every form in which a DirectMail result arrives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

import msgspec

from router import ConfigError, Decoder, Event, Message
from router_plugins.directmail.cloudevents import CloudEvent, fields_of
from router_plugins.directmail.envelope import unwrap
from router_plugins.directmail.fields import Result
from router_plugins.directmail.identity import id_of_cloud_event, id_of_delivery, id_of_text
from router_plugins.directmail.moments import moment, zone_of
from router_plugins.directmail.names import DELIVERIES, TYPES, type_of_cloud_event, type_of_text
from router_plugins.directmail.text import parse, strict


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

    def check(self) -> None:
        """Refuse a zone that does not exist."""
        try:
            zone_of(self.timezone)
        except ValueError as error:
            raise ConfigError(
                "timezone", str(error), "write an offset like +08:00 or a name like Asia/Shanghai"
            ) from error

    def decode(self, message: Message, source: str) -> Event:
        """Return the event of a message in any of the forms of PROTOCOL 2.5; raises `Undecodable`.

        Bytes that are not UTF-8 show as replacement characters in the fields; `message` keeps them.
        """
        return self.restore(message, source, "")

    def restore(self, message: Message, source: str, name: str) -> Event:
        """Return the event under the id `name`; an empty one is made from what the message says."""
        text = str(message.body, "utf-8", "replace")
        fields = strict(text)  # most messages; none that needs unwrapping matches
        if fields is None:
            inner = unwrap(text)
            if isinstance(inner, CloudEvent):
                return self._event_of_cloud(inner, message, source, name)
            text, fields = inner, parse(inner)
        return self._event_of_text(text, fields, message, source, name)

    def _event_of_text(self, text: str, fields: Result, message: Message, source: str, name: str) -> Event:
        kind = type_of_text(fields.event, fields.status)
        identity = name or _business_id(kind, fields) or id_of_text(text)
        return Event(identity, kind, self._time(kind, fields, "", message), source, fields, message)

    def _event_of_cloud(self, cloud: CloudEvent, message: Message, source: str, name: str) -> Event:
        fields = fields_of(cloud)
        kind = type_of_cloud_event(cloud.type)
        identity = name or _business_id(kind, fields)
        if not identity:
            identity = id_of_cloud_event(cloud.source, cloud.id) if cloud.id else id_of_text(str(cloud.data, "utf-8"))
        return Event(identity, kind, self._time(kind, fields, cloud.time or "", message), source, fields, message)

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


def _business_id(kind: str, fields: Result) -> str:
    """Return the id of a delivery's result; empty for other events, and where half of the key is missing."""
    if kind in DELIVERIES and fields.env_id and fields.rcpt:
        return id_of_delivery(fields.env_id, fields.rcpt, fields.status, fields.end_time)
    return ""
