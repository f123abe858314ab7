"""What a dead letter says about where it comes from (PROTOCOL 2.6)."""

from __future__ import annotations

from router_plugins.emulator import xml


def properties(kind: str, source: str, message_id: str) -> str:
    """Write the system properties of a dead letter. Their names are documented (PROTOCOL 2.6), their values are not."""
    values = {"DLQMessageType": kind, "DLQSourceArn": source, "DLQOriginMessageId": message_id}
    written = (
        xml.branch("SystemPropertyValue", xml.leaves({"Name": name, "Value": value, "Type": "STRING"}))
        for name, value in values.items()
    )
    return xml.branch("SystemProperties", "".join(written))
