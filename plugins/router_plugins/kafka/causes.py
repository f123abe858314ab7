"""Why Kafka cannot be written to, in words that name the option to look at.

aiokafka's own words are in its log, not in its errors, and some are empty: a connection that is reset says nothing at
all. What goes wrong here is mostly a config that is right for another port, user or cluster.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping

import msgspec
from aiokafka import errors

_CLOSED = (asyncio.IncompleteReadError, ConnectionError, EOFError, ssl.SSLEOFError)
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's numbers for an authority that is not there: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT and the like."""
_DATES: Mapping[int, str] = {9: "is not valid yet", 10: "has expired"}
_NAMES = frozenset({62, 64})
_ALERTS = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED",
           "UNSUPPORTED_CERTIFICATE", "HANDSHAKE_FAILURE", "CERTIFICATE_REVOKED")  # fmt: skip
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH", "UNKNOWN_PROTOCOL")


class Way(msgspec.Struct, frozen=True):
    """How brokers are spoken to; `mechanism` is that of SASL, empty without."""

    tls: bool
    mechanism: str
    idempotence: bool


def explain(error: BaseException, way: Way) -> str:
    """Say what an error means, and which option can be wrong."""
    for one in _chain(error):
        if said := _certificate(one) or _login(one, way) or _rights(one, way) or _closed(one, way):
            return said
    return str(error).strip() or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, that first."""
    before = error.__cause__ or error.__context__
    if before is not None and before is not error:
        yield from _chain(before)
    yield error


def _certificate(error: BaseException) -> str:
    """Say what is wrong with TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code, said = error.verify_code, error.verify_message
        if code in _NAMES:
            return (
                f"the broker's certificate is for another name ({said}): see `servers`, or set `verify_hostname: false`"
            )
        if code in _DATES:
            return f"the broker's certificate, or its authority's, {_DATES[code]}: it must be renewed there, or in `ca`"
        trust = "is not signed by an authority that is trusted" if code in _UNTRUSTED else "is refused"
        return f"the broker's certificate {trust} ({said}): set `ca` to the file of its authority"
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if any(word in reason for word in _ALERTS):
        said = reason.lower().replace("_", " ")
        return f"the broker refuses this side's certificate or wants one ({said}): see `certificate` and `private_key`"
    if any(word in reason for word in _NO_TLS):
        return "what answers speaks no TLS: leave `tls` out, or name another port in `servers`"
    return ""


def _login(error: BaseException, way: Way) -> str:
    """Say what is wrong with SASL."""
    if isinstance(error, errors.UnsupportedSaslMechanismError):
        offered = str(error).rpartition("Enabled mechanisms are: ")[2] if "Enabled mechanisms" in str(error) else ""
        names = ", ".join(offered.strip("[]'\" ").replace("'", "").split(", "))
        return f"the broker does not offer {way.mechanism}: see `sasl.mechanism`" + (
            f" (it has {names})" if names else ""
        )
    if isinstance(error, errors.IllegalSaslStateError):
        return "this port takes no SASL: leave `sasl` out, or name another port in `servers`"
    refused = isinstance(error, errors.SaslAuthenticationFailed | errors.AuthenticationFailedError)
    if refused or (way.mechanism and type(error) is ValueError and str(error).startswith("Server ")):
        said = ", ".join(str(part) for part in error.args if part)
        return "the broker refuses the login: see `sasl.username`, `sasl.password` and `sasl.mechanism`" + (
            f" ({said})" if said else ""
        )
    return ""


def _rights(error: BaseException, way: Way) -> str:
    """Say what this user, or this cluster, does not do."""
    if isinstance(error, errors.ClusterAuthorizationFailedError):
        if way.idempotence:
            return "the cluster refuses idempotent producers: set `idempotence: false`"
        return "this user has no right to the cluster: see `sasl.username`"
    if isinstance(error, errors.IncompatibleBrokerVersion) and way.idempotence and "InitProducerId" in str(error):
        return "the broker knows no idempotent producers: set `idempotence: false`"
    return ""


def _closed(error: BaseException, way: Way) -> str:
    """Say what makes brokers close a connection without a word."""
    if isinstance(error, ConnectionRefusedError | BrokenPipeError) or not isinstance(error, _CLOSED):
        if not (type(error) is errors.KafkaConnectionError and str(error).endswith(" closed")):
            return ""
    elif error.args and isinstance(error, OSError) and "Connect call failed" in str(error):
        return ""
    doubts = ["is it a port without TLS (`tls`)", "does it want a certificate (`certificate`, `private_key`)"]
    doubts = doubts if way.tls else ["is it a port for TLS (`tls: true`)"]
    doubts.append("is it a port without SASL (`sasl`)" if way.mechanism else "does it want a login (`sasl`)")
    return f"the broker closed the connection without a word: {', or '.join(doubts)}?"
