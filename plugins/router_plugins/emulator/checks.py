"""What the service refuses when something is named, tagged or pointed somewhere (PROTOCOL 1.7, 1.8, 4)."""

from __future__ import annotations

import re

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.push_request import endpoint_url
from router_plugins.emulator.queued import DlqPolicy

LONGEST_NAME = 120

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_LONGEST_TAG = 16
_QUEUE_ENDPOINT = re.compile(r"acs:mns:([^:]*):(.+):queues/([^/]+)")
_OTHER_ENDPOINTS = re.compile(r"(?:mail:directmail|sms:directsms|sms:dayu|push):\S+")
"""What the documents and the SDKs know beside URLs and queues; nothing is sent there from here."""


def check_queue_name(name: str) -> None:
    """Raise `QueueNameLengthError` or `InvalidQueueName`."""
    _check_name(name, "QueueNameLengthError", "InvalidQueueName")


def check_topic_name(name: str) -> None:
    """Raise `TopicNameLengthError` or `TopicNameInvalid`; topics of short messages are called `sms.` and something."""
    _check_name(name.removeprefix("sms."), "TopicNameLengthError", "TopicNameInvalid")


def check_subscription_name(name: str) -> None:
    """Raise `SubscriptionNameLengthError` or `SubscriptionNameInvalid`."""
    _check_name(name, "SubscriptionNameLengthError", "SubscriptionNameInvalid")


def _check_name(name: str, length: str, characters: str) -> None:
    """Refuse what does not begin with a letter or a digit, or has others than these and hyphens."""
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ServiceError(length)
    if not _NAME.fullmatch(name):
        raise ServiceError(characters)


def check_tag(tag: str) -> None:
    """Refuse a message's tag."""
    if len(tag) > _LONGEST_TAG or not tag.isprintable():
        raise ServiceError("InvalidArgument", f"A message tag has at most {_LONGEST_TAG} printable characters.")


def check_endpoint(endpoint: str, resource: str, host: str = "") -> None:
    """Refuse what is no URL, no queue of the account, whose resources' names begin with `resource`, and no mailbox.

    SDKs generate a queue's endpoint out of the URL that they were given: the account is the first label of its
    `host`, and the region something of it, too. Here that host is often 127.0.0.1 or localhost.
    """
    if is_url(endpoint):
        endpoint_url(endpoint)
    elif (match := _QUEUE_ENDPOINT.fullmatch(endpoint)) is not None:
        region, account, queue = match.groups()
        ours = f"acs:mns:{region}:{account}:" == resource or account in _first_labels(host)
        if not ours or not _NAME.fullmatch(queue) or len(queue) > LONGEST_NAME:
            raise ServiceError("EndpointInvalid", f"The endpoint {endpoint} is not of the form {resource}queues/NAME.")
    elif not _OTHER_ENDPOINTS.fullmatch(endpoint):
        wanted = f"neither an HTTP URL nor {resource}queues/NAME"
        raise ServiceError("EndpointInvalid", f"The endpoint {endpoint} is {wanted}.")


def check_terminal(endpoint: str, resource: str) -> None:
    """Refuse what a rule cannot send results to: it is a URL or a queue; raise `InvalidArgument`."""
    try:
        check_endpoint(endpoint, resource)
    except ServiceError as error:
        raise ServiceError("InvalidArgument", error.message) from error
    if not is_url(endpoint) and queue_of(endpoint) is None:
        raise ServiceError("InvalidArgument", f"The endpoint {endpoint} is neither an HTTP URL nor a queue.")


def _first_labels(host: str) -> set[str]:
    """Return what SDKs take for the account: `localhost`, 127, an account's number, or [::1] as it is.

    The PHP SDK takes a port for a part of it.
    """
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return {name.partition(".")[0], host.partition(".")[0]} - {""}


def check_policy(own: str | None, policy: DlqPolicy) -> None:
    """Refuse a policy that names no queue, or the one whose dead letters it is about."""
    if policy.enabled and policy.queue in {"", own}:
        raise ServiceError("InvalidArgument", "DlqPolicy needs a DeadLetterTargetQueue, and another than its own.")


def is_url(endpoint: str) -> bool:
    """Say whether messages are pushed to this endpoint over HTTP."""
    return endpoint.startswith(("http://", "https://"))


def queue_of(endpoint: str) -> str | None:
    """Return the queue that an endpoint names, None when it is something else."""
    return endpoint.rpartition(":queues/")[2] if endpoint.startswith("acs:mns:") else None
