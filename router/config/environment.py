"""`${NAME}` in the scalars of a config: values from the environment.

    ${NAME}             the value; it is a mistake if there is none
    ${NAME:-default}    the default where there is no value, or an empty one
    $$                  a dollar

Every other dollar is a dollar. Braces end a scalar inside of `{a: ${NAME}}` for YAML, so references are shielded
before the text is parsed: each of their characters is replaced by one that YAML takes for a letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_REFERENCE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}\n]*))?\}")
_BROKEN = re.compile(r"\$\{[^}]{0,40}\}?")

_SHIELD = 0xF0000
"""Begin of a plane for private use: ASCII moved there means nothing to YAML."""
_SHIELDED = re.compile(f"[{chr(_SHIELD)}-{chr(_SHIELD + 127)}]")
_UNSHIELD = {_SHIELD + code: code for code in range(128)}


class Expanded(msgspec.Struct, frozen=True):
    """A text with its references replaced.

    `used` maps each value from the environment to its name; `mistakes` are problems with their likely fix.
    """

    text: str
    used: Mapping[str, str]
    mistakes: tuple[tuple[str, str], ...]


def shield(text: str) -> str:
    """Hide the references of a text from the YAML parser; lines and columns stay as they are."""
    return _REFERENCE.sub(lambda found: _shielded(found[0]), text)


def unshield(text: str) -> str:
    """Undo `shield`."""
    return text.translate(_UNSHIELD)


def find_shield(text: str) -> int:
    """Return the index of the first character that `shield` uses itself; -1 if there is none."""
    found = _SHIELDED.search(text)
    return found.start() if found else -1


def expand(text: str, environ: Mapping[str, str]) -> Expanded:
    """Replace the references of a text."""
    used: dict[str, str] = {}
    mistakes: list[tuple[str, str]] = []

    def value(found: re.Match[str]) -> str:
        name, default = found["name"], found["default"]
        if name is None:
            return "$"
        text = environ.get(name)
        if text is None and default is None:
            mistakes.append((f"the environment variable {name} is not set", f"set it, or write ${{{name}:-DEFAULT}}"))
        if default is not None and not text:
            return default
        used[text or ""] = name
        return text or ""

    rest = _REFERENCE.sub("", text)
    fix = "write ${NAME} with letters, digits and _, or $$ for a dollar"
    mistakes += [(f"`{found}` is no reference to an environment variable", fix) for found in _BROKEN.findall(rest)]
    return Expanded(_REFERENCE.sub(value, text), used, tuple(mistakes))


def _shielded(text: str) -> str:
    return "".join(chr(_SHIELD + ord(c)) if c.isascii() else c for c in text)
