"""What a text of the config stands for: annotations of a plugin's fields, which the config checks wherever they stand.

    key: FieldName                      one name of an event's field
    fields: list[FieldName]             several
    topic: FieldTemplate                a text with names in braces: `mail.{region}`
    credentials: InputPath              a file that is read; relative to the folder of the config file
    path: OutputPath                    one that is written, or that the plugin has for itself
    path: OutputTemplate                a template of such

A name that no event can have is a mistake, and so are two that write to one file, or one that writes to a file of
somebody else's. An empty text means nothing, and is left as it is. A `pathlib.Path` is an `InputPath`.
"""

from __future__ import annotations

import enum
from typing import Annotated, TypeAlias


class Meaning(enum.Enum):
    """What the config knows of a text beside its type."""

    FIELD = "the name of a field"
    TEMPLATE = "names of fields in braces"
    INPUT = "a path that is read"
    OUTPUT = "a path that is written"


FieldName: TypeAlias = Annotated[str, Meaning.FIELD]
FieldTemplate: TypeAlias = Annotated[str, Meaning.TEMPLATE]
InputPath: TypeAlias = Annotated[str, Meaning.INPUT]
OutputPath: TypeAlias = Annotated[str, Meaning.OUTPUT]
OutputTemplate: TypeAlias = Annotated[str, Meaning.TEMPLATE, Meaning.OUTPUT]
