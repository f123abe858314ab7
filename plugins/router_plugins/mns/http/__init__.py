"""An HTTP/1.1 front for many small requests: parsed as they come, taken and answered in batches.

Bytes go through `parser` (no I/O), `connection` (one socket: order, deadlines, back-pressure) and `front` (the
listener: what waits, for whom, and the limits over all connections). No request has a task of its own.
"""

from router_plugins.mns.http.answers import Answer, accepted, health, refusal
from router_plugins.mns.http.codings import TooLargeError, content_of
from router_plugins.mns.http.front import Front
from router_plugins.mns.http.limits import Limits
from router_plugins.mns.http.parser import Route
from router_plugins.mns.http.request import Request

__all__ = [
    "Answer",
    "Front",
    "Limits",
    "Request",
    "Route",
    "TooLargeError",
    "accepted",
    "content_of",
    "health",
    "refusal",
]
