"""The public face of the router for plugin authors; nothing else in this package is public."""

from router.errors import ConfigError, Partial, Reject, Retry, RouterError, Undecodable
from router.event import UNDECODABLE, Batch, Event, Message, json_lines
from router.names import Names
from router.plugin import Count, Decoder, Deliver, Emit, Marks, Placed, Plugin, Ready, Secret, Sink, Source, Step
from router.terminal import harmless, harmless_json
from router.threads import Threads
from router.units import Duration, Size

__all__ = [
    "UNDECODABLE",
    "Batch",
    "ConfigError",
    "Count",
    "Decoder",
    "Deliver",
    "Duration",
    "Emit",
    "Event",
    "Marks",
    "Message",
    "Names",
    "Partial",
    "Placed",
    "Plugin",
    "Ready",
    "Reject",
    "Retry",
    "RouterError",
    "Secret",
    "Sink",
    "Size",
    "Source",
    "Step",
    "Threads",
    "Undecodable",
    "harmless",
    "harmless_json",
    "json_lines",
]
