"""The likely fix: what was probably meant by a word that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

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


def unknown_subscription(name: str, known: Iterable[str]) -> str:
    """Return what is said where `department/name` is none, with the nearest that is."""
    hint = nearest_subscription(name, known)
    return f"no subscription `{name}`{f' ({hint})' if hint else ''}"


def nearest_subscription(name: str, known: Iterable[str]) -> str:
    """Return the hint for a `department/name` that is none, also by one of the two words alone."""
    names = sorted(known)
    word = name.strip(" /").lower()
    parts = [full for full in names if word in full.split("/")]
    hint = f"did you mean `{parts[0]}`?" if len(parts) == 1 else nearest(word, parts or names)
    if not hint.startswith("did") and (by_part := _by_part(word, names)):
        hint = f"did you mean `{by_part}`?"
    return hint


def _by_part(word: str, names: Sequence[str]) -> str:
    """Return the only name one of whose words is near to this one."""
    last = word.rpartition("/")[2]
    words = {part for name in names for part in name.split("/")}
    close = difflib.get_close_matches(last, words, n=1)
    found = [name for name in names if close and close[0] in name.split("/")]
    return found[0] if len(found) == 1 else ""
