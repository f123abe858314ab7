"""Why there is no answer, in words for people. They hold no URL, which may have a token in it."""

from __future__ import annotations

import os
import socket
import ssl


class NoAnswerError(Exception):
    """There is no usable answer; whether the request was received is not known."""


class LostError(NoAnswerError):
    """The connection ended before a whole head of an answer came; `began` says whether any byte of it did."""

    def __init__(self, reason: str, *, began: bool) -> None:
        super().__init__(reason)
        self.began = began


class DeniedError(OSError):
    """All addresses of a name lie in networks that are not to be connected to."""


def no_connection(error: OSError) -> NoAnswerError:
    """Say why a connection could not be made."""
    match error:
        case ssl.SSLCertVerificationError():
            return NoAnswerError(f"its certificate is not trusted: {error} (its authority's file: set `ca`)")
        case ssl.SSLError():
            return NoAnswerError(error.strerror or str(error))
        case socket.gaierror():
            return NoAnswerError("its name cannot be resolved")
        case _:
            return NoAnswerError(f"no connection: {os.strerror(error.errno) if error.errno else error}")


def lost(error: Exception | None, *, began: bool) -> LostError:
    """Say why a connection ended; None is an orderly end."""
    match error:
        case None:
            return LostError("closed the connection without an answer", began=began)
        case OSError() if error.strerror:
            return LostError(error.strerror, began=began)
        case _:
            return LostError(f"the connection broke ({type(error).__name__})", began=began)
