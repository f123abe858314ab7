"""Texts that a field never has: why a comparison with one can never hold, and what was probably meant.

Nothing is refused that could ever match: the writer of a field's values (`Values`) says what they can be. A `*` in a
text that is compared as a whole is taken for a glob that is none; `{glob: "[*]"}` is the character itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from router.hint import nearest
from router.match.operators import NumberRange, Operator, number_of
from router.values import Values

Fault: TypeAlias = tuple[str, str]
"""What is wrong, and the likely fix."""

_COMPARED = re.compile(r"(>=|<=|!=|<>|==|=|>|<|!|not )\s*(.+)", re.DOTALL)
_SPAN = re.compile(r"(-?[0-9]+)\s*(?:-|\.\.\.?|to|bis|,)\s*(-?[0-9]+)")
_CLASS = re.compile(r"([0-9])(?:xx|XX|\.\.|\?\?|\*|[0-9]x)")
_ADDRESSES = ("10.0.0.1", "2001:db8::1")


def equal_fault(field: str, text: str, values: Values | None) -> Fault | None:
    """Say why no value is equal to the text; None if one can be."""
    if values is None or values.include(text):
        return _starred(text) if values is None or "*" in text else None
    problem = f"`{text}` never is a value of `{field}`, which is {values.said}"
    return problem, next(_meant(field, text, values), "")


def part_fault(field: str, name: str, text: str, values: Values | None) -> Fault | None:
    """Say why no value begins or ends with the text, or fits the glob; None if one can."""
    if name != "glob" and (starred := _starred(text)):
        return starred
    literal = re.sub(r"\[[^]]*\]|[*?]", "", text) if name == "glob" else text
    if values is None or not (odd := values.odd(literal)):
        return None
    changed = text.lower().lstrip("@")
    fits = changed != text and not values.odd(re.sub(r"\[[^]]*\]|[*?]", "", changed))
    hint = f"did you mean `{changed}`?" if fits else ""
    return f"`{odd[0]}` is in no value of `{field}`, which is {values.said}", hint


def range_fault(field: str, operator: Operator, ends: Sequence[str], values: Values | None) -> Fault | None:
    """Say why no value lies in a range; None if one can."""
    if values is None:
        return None
    numeric = values.include("1") and not values.include("a")
    if numeric and not isinstance(operator, NumberRange):
        wrong = next((end for end in ends if number_of(end) is None), "")
        return f"`{wrong}` is no number, and `{field}` is {values.said}", "such as `{range: [400, 499]}`"
    if isinstance(operator, NumberRange) and not any(values.include(number) for number in ("1", "10", "1000000000")):
        return f"`{field}` is no number, but {values.said}", ""
    return None


def network_fault(field: str, values: Values | None) -> Fault | None:
    """Say why no value is in a network; None if one can be."""
    if values is None or any(values.include(address) for address in _ADDRESSES):
        return None
    return f"`{field}` is no address, but {values.said}", ""


def _starred(text: str) -> Fault | None:
    if "*" not in text:
        return None
    return f"`{text}` is compared as it stands, with its `*`", f'did you mean `{{glob: "{text}"}}`?'


def _meant(field: str, text: str, values: Values) -> Iterator[str]:
    """Yield the likely fixes, the best first."""
    for guess in (_normal, _compared, _spanned, _several, _located, _dated):
        if hint := guess(text, values):
            yield f"did you mean `{hint}`?"
    if "*" in text or ("?" in text and not values.include("?")):
        yield f'did you mean `{{glob: "{text}"}}`?'
    if values.words:
        yield f'{nearest(text, values.words)}; what is not known yet is written `{{glob: "{text}"}}`'
    if field.endswith("_domain") and "@" in text:
        yield "without what stands before the @"


def _normal(text: str, values: Values) -> str:
    """Return the text as the field's writer would write it, if that is all there is to it."""
    bare = text.strip().strip("\"'").strip()
    changes: tuple[Callable[[str], str], ...] = (
        str,
        str.lower,
        lambda t: t.lstrip("0") or "0",
        lambda t: t.lstrip("+"),
        lambda t: re.sub(r"\.0+$", "", t),
        lambda t: t.lower().lstrip("@*."),
        lambda t: t.lower().replace("_", "-").replace(" ", "-"),
        lambda t: {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}.get(
            t.lower(), t
        ),
    )
    if (called := values.called.get(bare.lower())) is not None:
        return called
    return next((one for change in changes if (one := change(bare)) and values.include(one)), "")


def _compared(text: str, values: Values) -> str:
    """Return the operator for what is written as a comparison."""
    found = _COMPARED.fullmatch(text.strip())
    if found is None or not values.include(found[2].strip()):
        return ""
    sign, other = found[1].strip(), found[2].strip()
    number = int(other) if re.fullmatch(r"-?[0-9]{1,18}", other) else None
    match sign:
        case "!" | "!=" | "<>" | "not":
            return f"{{not: {other}}}"
        case "=" | "==":
            return other
        case ">" | ">=":
            low = other if number is None or sign == ">=" else number + 1
            return f"{{range: [{low}, null]}}"
        case _:
            high = other if number is None or sign == "<=" else number - 1
            return f"{{range: [null, {high}]}}"


def _spanned(text: str, values: Values) -> str:
    """Return the range for `500-599` and `5xx`."""
    bare = text.strip().strip("[]() ")
    if (found := _SPAN.fullmatch(bare)) and values.include(found[1]) and values.include(found[2]):
        several = "," in bare and "[" not in text
        return f"[{found[1]}, {found[2]}]" if several else f"{{range: [{found[1]}, {found[2]}]}}"
    if (found := _CLASS.fullmatch(bare)) and values.include(found[1]):
        return f"{{range: [{found[1]}00, {found[1]}99]}}"
    return ""


def _several(text: str, values: Values) -> str:
    """Return the list for `3, 4` and `3|4`."""
    parts = [part.strip() for part in re.split(r"\s*(?:[,;|]+| or | und )\s*", text.strip("[]() "))]
    return f"[{', '.join(parts)}]" if len(parts) > 1 and all(part and values.include(part) for part in parts) else ""


def _located(text: str, values: Values) -> str:
    """Return the operator for a network where addresses are."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return ""
    return f"{{cidr: {network}}}" if "/" in text and values.include(str(network.network_address)) else ""


def _dated(text: str, values: Values) -> str:
    """Return the operator for the beginning of a time."""
    begins = re.fullmatch(r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:[T ][0-9:]*)?)?", text)
    return f'{{prefix: "{text}"}}' if begins and values.include("2026-03-01T09:00:01+08:00") else ""
