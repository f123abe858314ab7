"""`router doctor`: why something that came is not taken."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from router.cli import tables
from router.cli.endings import FAILED
from router.config import load
from router.config.plugins import Plugins
from router.errors import RouterError
from router.pem import PemFile
from router.plugin import Secret, Source

doctor = typer.Typer(no_args_is_help=True, help="Find out why something that came is not taken.")


@doctor.callback()
def about() -> None:
    """Find out why something that came is not taken."""


@doctor.command()
def push(
    file: Annotated[Path, typer.Argument(help="Raw HTTP, or of `curl -v`, `tcpdump -A`; `-`: stdin.")],
    config: Annotated[Path | None, typer.Argument(help="The config whose source it is for.")] = None,
    source: Annotated[str | None, typer.Option(help="The source's name, where the config has several.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="A PEM file with the certificate that signs pushes.")] = None,
    path: Annotated[str | None, typer.Option(help="The listener's path, without a config.")] = None,
    signed_path: Annotated[str | None, typer.Option(help="The path that the service pushes to.")] = None,
) -> None:
    """Show how a captured push is judged: string to sign, target, headers, certificate, signature, body, topic.

    Says which changes by a proxy explain a wrong signature. Nothing is fetched. Exits 1 if it would not be taken.

    Example: router doctor push captured.http router.yaml --certificate push.pem
    """
    pinned = None if certificate is None else _pem(certificate)
    given = {"certificate": pinned, "path": None if path is None else Secret(path), "signed_path": signed_path}
    options = {name: value for name, value in given.items() if value is not None}
    chosen = _with(_from(config, source) if config else _plain(), options)
    try:
        taken, lines = chosen.examine(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    except OSError as error:
        raise RouterError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise RouterError(f"{file}: {error}") from error
    except NotImplementedError as error:
        raise RouterError(f"a source of the type {type(chosen).__name__} has no pushes to examine") from error
    for line in lines:
        tables.say(line)
    tables.say("nothing was found that keeps it from being taken" if taken else "it would not be taken")
    if not taken:
        raise typer.Exit(FAILED)


def _pem(file: Path) -> PemFile:
    try:
        return PemFile.read(file)
    except OSError as error:
        raise RouterError(f"{file}: {error.strerror}") from error


def _from(config: Path, name: str | None) -> Source:
    """Return the source of that name, or the only one that takes pushes."""
    sources = load(config, os.environ).sources
    able = {key: one for key, one in sources.items() if type(one).examine is not Source.examine}
    if name is not None and name not in sources:
        raise RouterError(f"there is no source `{name}` in {config}: {', '.join(sources)}")
    if name is None and len(able) != 1:
        raise RouterError(f"{config} has {len(able)} sources that take pushes: choose one by --source")
    return sources[name] if name is not None else next(iter(able.values()))


def _plain() -> Source:
    """Return a source with default options."""
    plain = msgspec.convert({"listen": "127.0.0.1:0"}, Plugins(()).find(Source, "mns_push"))
    assert isinstance(plain, Source)
    return plain


def _with(source: Source, options: Mapping[str, object]) -> Source:
    """Return the source with some options replaced."""
    try:
        changed = msgspec.structs.replace(source, **options)
    except TypeError as error:
        raise RouterError(f"a source of the type {type(source).__name__} has no such option: {error}") from error
    changed.check()
    return changed
