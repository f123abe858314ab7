"""A client for many small POSTs to one place over HTTP/1.1 connections that stay open.

`parser` turns bytes into answers (no I/O, no clock), `connection` is one socket with one request under way, `dialling`
makes the sockets, `client` chooses between them and keeps the deadlines. A request is bytes that its sender has
rendered whole, and costs one write, one read and one future: no task and no timer of its own.

It follows no redirects, pipelines nothing, and keeps no cookies. Through a forward proxy aiohttp's client does the
same, by the same rules (`proxied`); `posting` gives one or the other.
"""

from router_plugins.http_client.client import Client
from router_plugins.http_client.dialling import Dialler
from router_plugins.http_client.errors import NoAnswerError
from router_plugins.http_client.parser import Answer, Limits
from router_plugins.http_client.posting import Post, posting
from router_plugins.http_client.request import Requests

__all__ = [
    "Answer",
    "Client",
    "Dialler",
    "Limits",
    "NoAnswerError",
    "Post",
    "Requests",
    "posting",
]
