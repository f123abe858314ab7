"""The public face of the router for plugin authors; nothing else in this package is public."""

from router.errors import ConfigError, Partial, Reject, Retry, RouterError, Undecodable
from router.event import UNDECODABLE, Batch, Event, Message, json_lines
from router.meaning import FieldName, FieldTemplate, InputPath, OutputPath, OutputTemplate
from router.names import Names
from router.pem import PemFile
from router.plugin import Count, Decoder, Deliver, Emit, Marks, Placed, Plugin, Ready, Secret, Sink, Source, Step
from router.terminal import harmless, harmless_json
from router.threads import Threads
from router.units import Duration, Size
from router.values import NUMBER, Values

__all__ = [
    "NUMBER",
    "UNDECODABLE",
    "Batch",
    "ConfigError",
    "Count",
    "Decoder",
    "Deliver",
    "Duration",
    "Emit",
    "Event",
    "FieldName",
    "FieldTemplate",
    "InputPath",
    "Marks",
    "Message",
    "Names",
    "OutputPath",
    "OutputTemplate",
    "Partial",
    "PemFile",
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
    "Values",
    "harmless",
    "harmless_json",
    "json_lines",
]
