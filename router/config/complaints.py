"""What usually is behind a YAML parser's complaint: the likely fix, from its words and from the line it is about."""

from __future__ import annotations

import re

_SIGNS = {
    r"\\t": "indent with spaces; YAML allows no tabs there",
    "scanning an? (?:alias|anchor)": 'a text that begins with `*` or `&` needs quotes: "*@example.com"',
    "scanning a tag|could not determine a constructor|undefined tag": "a text that begins with `!` needs quotes",
    "scanning a block scalar": "a text that begins with `>` or `|` needs quotes; a comparison is `{range: [2, null]}`",
    "scanning a directive": "a text that begins with `%` needs quotes",
    "cannot start any token": "a text that begins with one of @ ` % needs quotes",
    "mapping values are not allowed": "a value that contains `: ` needs quotes; or the indentation is off",
    "scanning a double-quoted": "in double quotes a backslash is written twice; or a closing quote is missing",
    "quoted scalar": "a closing quote is missing",
    "expected ',' or": "a text with one of , [ ] { } or `: ` needs quotes here; or a bracket is missing",
    "could not find expected ':'": "a key needs a `:` and a space behind it",
    "expected <block end>|expected the node content|expected <document start>": "",
}
"""A pattern of complaints to the fix, the most special first; empty where the line tells more."""

_BEGINS = (
    (r"[{\[]", 'a text that begins with `{` or `[` needs quotes: "{region}.jsonl"'),
    (r"[\"']", "a quote that belongs to the text is doubled, or the whole stands in the other kind of quotes"),
    (r"[*&]", 'a text that begins with `*` or `&` needs quotes: "*@example.com"'),
    (r"!", "a text that begins with `!` needs quotes"),
    (r"[,?]", "a text that begins with `,` or `?` needs quotes"),
)
_VALUE = re.compile(r"\s*(?:- +)*(?:[^\s:#\"'{\[][^:#]*:(?= |$) *)?(?P<value>.*)", re.DOTALL)


def likely(complaint: str, line: str) -> str:
    """Return the likely fix of what a parser complains about, in the line where it does; empty for none."""
    fix = next((fix for sign, fix in _SIGNS.items() if re.search(sign, complaint)), None)
    if fix != "":
        return fix or ""
    value = _VALUE.match(line)
    begin = value["value"] if value else ""
    return next((fix for sign, fix in _BEGINS if re.match(sign, begin)), "the indentation does not fit the lines above")
