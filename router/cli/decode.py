"""`router decode`: messages in, one JSON object each out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from router.config.plugins import Plugins
from router.errors import RouterError
from router.event import Message
from router.intake import event_of
from router.lines import body_of
from router.plugin import Decoder
from router.proof import check_decoder
from router.terminal import harmless_json


def decode(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files with messages; none or `-`: standard input.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Each file is one message, newlines and all.")] = False,
    timezone: Annotated[str | None, typer.Option(help="Zone of times that name none; +08:00 in DirectMail's.")] = None,
    decoder: Annotated[str, typer.Option(help="The decoder's name.")] = "directmail",
) -> None:
    """Decode messages, one per line (or one per file with --whole), and print the events as JSON lines.

    A line may also be `base64:` and a message in base64, as `router journal export` writes what is no line.
    What cannot be decoded is printed as an event of type Undecodable, with the reason.

    Example: router decode --whole push-body.xml
    """
    chosen = _chosen(decoder, {} if timezone is None else {"timezone": timezone})
    write = sys.stdout.buffer.write
    for path in files or [Path("-")]:
        for body in _messages(path, whole=whole):
            event = event_of(chosen, Message(body, time.time()), "decode")
            write(harmless_json(event.json()).encode() + b"\n")


def _chosen(name: str, options: dict[str, str]) -> Decoder:
    kind = Plugins(()).find(Decoder, name)
    try:
        chosen = msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        raise RouterError(f"the decoder `{name}` cannot be had like this: {error}") from error
    assert isinstance(chosen, Decoder)
    chosen.check()
    check_decoder(chosen)
    return chosen


def _messages(path: Path, *, whole: bool) -> Iterator[bytes]:
    try:
        if str(path) == "-":
            yield from _read(sys.stdin.buffer, whole=whole)
        else:
            with path.open("rb") as file:
                yield from _read(file, whole=whole)
    except OSError as error:
        raise RouterError(f"{path}: {error.strerror}") from error


def _read(file: BinaryIO, *, whole: bool) -> Iterator[bytes]:
    """Yield the messages of a file; a blank line is none, and a whole file's last newline is the editor's."""
    if whole:
        yield file.read().removesuffix(b"\n").removesuffix(b"\r")
        return
    for line in file:
        if message := line.rstrip(b"\r\n"):
            yield body_of(message)
