"""What the service refuses when something is named, tagged or pointed somewhere (PROTOCOL 1.7, 1.8, 4)."""

from __future__ import annotations

import re

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.push_request import endpoint_url
from router_plugins.emulator.queued import DlqPolicy

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST_NAME = 120
_LONGEST_TAG = 16


def check_queue_name(name: str) -> None:
    """Raise `QueueNameLengthError` or `InvalidQueueName`."""
    if len(name) > _LONGEST_NAME:
        raise ServiceError("QueueNameLengthError")
    if not _NAME.fullmatch(name):
        raise ServiceError("InvalidQueueName")


def check_name(name: str) -> None:
    """Refuse the name of a topic or a subscription."""
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ServiceError("InvalidArgument", f"The name {name[:_LONGEST_NAME]!r} is invalid.")


def check_tag(tag: str) -> None:
    """Refuse a message's tag."""
    if len(tag) > _LONGEST_TAG or not tag.isprintable():
        raise ServiceError("InvalidArgument", f"A message tag has at most {_LONGEST_TAG} printable characters.")


def check_endpoint(endpoint: str, resource: str) -> None:
    """Refuse what is neither a URL nor a queue of the account, whose resources' names begin with `resource`."""
    ours = f"{resource}queues/"
    if endpoint.startswith(("http://", "https://")):
        endpoint_url(endpoint)
    elif not endpoint.startswith(ours) or endpoint == ours:
        raise ServiceError("InvalidArgument", f"The endpoint {endpoint} is neither an HTTP URL nor {ours}NAME.")


def check_policy(own: str | None, policy: DlqPolicy) -> None:
    """Refuse a policy that names no queue, or the one whose dead letters it is about."""
    if policy.enabled and policy.queue in {"", own}:
        raise ServiceError("InvalidArgument", "DlqPolicy needs a DeadLetterTargetQueue, and another than its own.")


def queue_of(endpoint: str) -> str | None:
    """Return the queue that an endpoint names, None when it is a URL."""
    return endpoint.rpartition(":queues/")[2] if endpoint.startswith("acs:mns:") else None
