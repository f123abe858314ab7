"""The likely fix: what was probably meant by a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 12
"""So many known words are listed at most; a longer list helps nobody."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the hint for an unknown word: ``did you mean `listen`?``, else the words that are known."""
    words = sorted(known)
    folded = {w.lower(): w for w in reversed(words)}
    close = difflib.get_close_matches(word.lower(), folded, n=1)
    if close:
        return f"did you mean `{folded[close[0]]}`?"
    if not words:
        return ""
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return f"known: {', '.join(words[:_LISTED])}{more}"
