"""The service's errors: the codes as documented, the status that each comes with, and its words."""

from __future__ import annotations

from router import RouterError

_KNOWN = {
    "InvalidArgument": (400, "The argument is invalid."),
    "MalformedXML": (400, "The XML you provided was not well-formed."),
    "InvalidAuthorizationHeader": (400, "The Authorization header format is invalid."),
    "MissingAuthorizationHeader": (400, "Authorization header is required."),
    "InvalidDateHeader": (400, "The Date header format is invalid."),
    "MissingDateHeader": (400, "Date header is required."),
    "MissingVersionHeader": (400, "x-mns-version header is required."),
    "InvalidDigest": (400, "The Content-MD5 you specified is invalid."),
    "InvalidRequestURL": (400, "Http request URL format invalid."),
    "InvalidQueryString": (400, "Http request URL contains invalid querystring item."),
    "MissingReceiptHandle": (400, "ReceiptHandle is required."),
    "MissingVisibilityTimeout": (400, "VisibilityTimeout is required."),
    "ReceiptHandleError": (400, "The receipt handle you provide is not valid."),
    "InvalidQueueName": (
        400,
        (
            "The queue name you provided is invalid. "
            "QueueName should start with alpha or digit and contain only alpha, digit or -."
        ),
    ),
    "QueueNameLengthError": (400, "Queue name length should between 1 and 120."),
    "TopicNameInvalid": (
        400,
        (
            "The topic name you provided is invalid. "
            "TopicName should start with alpha or digit and contain only alpha, digit or -."
        ),
    ),
    "TopicNameLengthError": (400, "Topic name length should between 1 and 120."),
    "SubscriptionNameInvalid": (
        400,
        (
            "The subscription name you provided is invalid. "
            "SubscriptionName should start with alpha or digit and contain only alpha, digit or -."
        ),
    ),
    "SubscriptionNameLengthError": (400, "Subscription name length should between 1 and 120."),
    "EndpointInvalid": (400, "The endpoint you provided is invalid."),
    "AccessDenied": (403, "The OwnerId that your Access Key Id associated to is forbidden for this operation."),
    "InvalidAccessKeyId": (403, "The access Id you provided does not exist."),
    "SignatureDoesNotMatch": (
        403,
        (
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        ),
    ),
    "MessageNotExist": (404, "Message not exist."),
    "QueueNotExist": (404, "The queue name you provided is not exist."),
    "TopicNotExist": (404, "The topic name you provided is not exist."),
    "SubscriptionNotExist": (404, "The subscription you provided is not exist."),
    "RuleNotExist": (404, "The event rule you provided is not exist."),
    "CampaignNotExist": (404, "The campaign you provided is not exist."),
    "TimeExpired": (408, "The http request you sent is expired."),
    "QueueAlreadyExist": (409, "The queue you want to create is already exist."),
    "TopicAlreadyExist": (409, "The topic you want to create is already exist."),
    "SubscriptionAlreadyExist": (409, "The subscription you want to create is already exist."),
    "RuleAlreadyExist": (409, "The event rule you want to create is already exist; a rule cannot be modified."),
    "InternalError": (500, "Interal error."),
}
"""PROTOCOL 1.8, and the words of the vendor's table with their grammar and spelling.

The codes about rules and campaigns are the emulator's own and appear in its admin API only.
"""


class ServiceError(RouterError):
    """Refuse a request with one of the documented codes; `message` replaces the code's usual words."""

    def __init__(self, code: str, message: str = "") -> None:
        status, words = _KNOWN[code]
        super().__init__(f"{code}: {message or words}")
        self.code = code
        self.status = status
        self.message = message or words
