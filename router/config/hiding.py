"""Hiding secrets in what is said of a config, without eating letters of the message itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNMISTAKABLE = 8
"""Characters from which a secret is hidden wherever it stands."""


def without(secrets: Sequence[tuple[str, str]], text: str) -> str:
    """Return a text in which secrets are replaced, each by what is given beside it, the longest ones first.

    A short one is hidden where it stands as a word, or in quotes: its letters are in other words, too.
    """
    for secret, instead in sorted(secrets, key=lambda pair: -len(pair[0])):
        if secret in text:
            before, behind = _bounds(secret)
            text = instead.join(re.split(f"{before}{re.escape(secret)}{behind}", text))
    return text


def _bounds(secret: str) -> tuple[str, str]:
    """Return the patterns of what stands around a secret where it is taken for one."""
    if len(secret) >= UNMISTAKABLE:
        return "", ""
    return ("(?<!\\w)", "(?!\\w)") if len(secret) > 1 else ("(?<=[`'\"])", "(?=[`'\"])")
