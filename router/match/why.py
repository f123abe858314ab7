"""Why a condition does not hold of an event, in words: which tests failed, on which value."""

from __future__ import annotations

from router.event import Event
from router.match.condition import All, Condition, Either, Not, Test, text_of
from router.match.operators import Cidr, Exists, Glob, NumberRange, OneOf, Operator, Prefix, Suffix, TextRange

_SHOWN = 80
"""Characters of a value that are shown at most."""


def why_not(condition: Condition, event: Event) -> str:
    """Say which parts of the condition do not hold of the event; empty if it holds."""
    if condition.matches(event):
        return ""
    match condition:
        case Test():
            return f"{_found(condition, event)}, not {_wanted(condition.operator)}"
        case All():
            return "; ".join(reason for part in condition.parts if (reason := why_not(part, event)))
        case Either():
            return f"none of these: ({') or ('.join(why_not(part, event) for part in condition.parts)})"
        case Not():
            return f"`not` excludes it: {_why(condition.part, event)}"
        case _:
            return f"not {condition!r}"


def _why(condition: Condition, event: Event) -> str:
    """Say what makes a condition hold that does."""
    match condition:
        case Test():
            return f"{_found(condition, event)}, which is {_wanted(condition.operator)}"
        case All():
            return " and ".join(_why(part, event) for part in condition.parts) or "everything"
        case Either():
            return " and ".join(_why(part, event) for part in condition.parts if part.matches(event))
        case Not():
            return why_not(condition.part, event)
        case _:
            return repr(condition)


def _found(test: Test, event: Event) -> str:
    text = text_of(event, test.field)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"`{test.field}` is `{shown}`" if text else f"`{test.field}` is absent"


def _wanted(operator: Operator) -> str:
    match operator:
        case OneOf(texts=texts):
            words = [f"`{text}`" if text else "absent" for text in sorted(texts)]
            return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
        case Prefix(prefix=text) | Suffix(suffix=text) | Glob(glob=text):
            return f"{{{type(operator).__name__.lower()}: {text}}}"
        case Exists():
            return "present"
        case NumberRange(low=low, high=high) | TextRange(low=low, high=high):
            ends = ("null" if end is None else str(end) for end in (low, high))
            return f"in the range [{', '.join(ends)}]"
        case Cidr(networks=networks):
            return f"in {', '.join(map(str, networks))}"
        case _:
            return repr(operator)
