"""What goes wrong between the client and the service, in the service's own words (PROTOCOL 1.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router import RouterError
from router_plugins.mns import wire

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class MnsError(RouterError):
    """The service refused: `status` is that of HTTP, `code` and `message` are the service's own words."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{code or 'HTTP'} ({status}): {message} [request {request_id or 'unknown'}]")
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id


class MnsUnreachableError(RouterError):
    """The service could not be reached, or gave no answer that is one; the cause has the details."""


class MnsAnswerError(MnsUnreachableError):
    """The service did it, but its answer cannot be read."""


class PartialFailureError(MnsError):
    """A batch worked but for some; `root` says for which."""

    def __init__(self, status: int, root: Element, request_id: str) -> None:
        super().__init__(status, "", "some of the batch failed", request_id)
        self.root = root


def refusal_of(status: int, answer: bytes, request_id: str) -> MnsError:
    """Read the error out of an answer; a proxy's page is shown as far as it fits a line."""
    try:
        root = wire.read(answer)
    except ValueError:
        return MnsError(status, "", " ".join(answer[:200].decode("utf-8", "replace").split()), request_id)
    if root.tag.endswith(("Errors", "Messages")):
        return PartialFailureError(status, root, request_id)
    [fault] = wire.faults_of(root)
    return MnsError(status, fault.code, fault.message, fault.request_id or request_id)
