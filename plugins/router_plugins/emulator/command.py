"""`router emulator`: run the emulator; its subcommands speak to one that runs."""

from __future__ import annotations

import signal
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
import typer

from router import RouterError, harmless
from router.cli.endings import leaves
from router_plugins.emulator import subcommands
from router_plugins.emulator.credentials import access_key_of
from router_plugins.emulator.rules import ACTIVATION
from router_plugins.emulator.service import Emulator

WRONG_USAGE = 2

HELP = """Emulate DirectMail's event rules and MNS (topics, queues, signed pushes) on this machine.

Without a subcommand it runs until SIGTERM or SIGINT; the subcommands speak to one that runs, and so does the page at
http://127.0.0.1:6060/emulator. Any client of MNS can use it. With the official SDK (pip install aliyun-mns-sdk):

\b
    from mns.account import Account
    keys = "testAccessKeyId", "testAccessKeySecret"
    queue = Account("http://127.0.0.1:6060", *keys).get_queue("results")
    queue.set_encoding(False)  # DirectMail's results are not base64
    print(queue.receive_message(wait_seconds=10).message_body)

\b
Example:
    router emulator --listen 127.0.0.1:6060 --fast 10 --rule-delay 0
    router emulator queue create results
    router emulator send results "env_id=1&rcpt=a@b.example&status=0"
"""


class LostLeaseName(Enum):
    """`LostLease` for typer."""

    MESSAGE_NOT_EXIST = "MessageNotExist"
    RECEIPT_HANDLE_ERROR = "ReceiptHandleError"


emulator = typer.Typer(help=HELP, no_args_is_help=False)
subcommands.add_commands(emulator)


@emulator.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    *,
    listen: Annotated[
        str, typer.Option(help="A loopback address and port; port 0 takes a free one.")
    ] = "127.0.0.1:6060",
    access_key: Annotated[
        list[str] | None, typer.Option(help="ID:SECRET; a temporary one has :TOKEN behind. Repeatable.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="Folder that keeps key, queues, topics and rules.")] = None,
    fast: Annotated[float, typer.Option(min=0.001, help="Divide the service's own waits by this.")] = 1,
    rule_delay: Annotated[float, typer.Option(min=0, help="Seconds until a new rule takes effect.")] = ACTIVATION,
    in_flight: Annotated[int, typer.Option(min=1, help="Pushes at once for each subscription.")] = 64,
    long_polls: Annotated[int, typer.Option(min=0, help="Receivers that may wait at each queue.")] = 1000,
    lost_lease: Annotated[
        LostLeaseName, typer.Option(help="The error for an expired handle; the documents are split.")
    ] = LostLeaseName.MESSAGE_NOT_EXIST,
    certificate: Annotated[Path | None, typer.Option(help="Write the certificate to this file, to pin it.")] = None,
) -> None:
    """Run the emulator, unless there is a subcommand."""
    if context.invoked_subcommand is not None:
        return
    mistakes: list[BaseException] = []
    try:
        host, port = _address(listen)
        settings = Emulator(
            fast=fast, rule_delay=rule_delay, state=state, in_flight=in_flight,
            long_polls=long_polls, lost_lease=lost_lease.value,
        )  # fmt: skip
        if access_key:
            settings = msgspec.structs.replace(settings, access_keys=tuple(map(access_key_of, access_key)))
        anyio.run(_serve, settings, host, port, certificate, backend_options={"use_uvloop": sys.platform != "win32"})
    except* RouterError as group:
        mistakes = [*leaves(group)]
    for error in mistakes:
        typer.echo(harmless(f"router emulator: {error}"), err=True)
    if mistakes:
        raise typer.Exit(WRONG_USAGE)


async def _serve(settings: Emulator, host: str, port: int, certificate: Path | None) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with settings.serve(host, port) as service:
            if certificate is not None:
                await anyio.Path(certificate).write_bytes(service.certificate_pem)
            typer.echo(f"emulator listening on {service.url}")
            sys.stdout.flush()
            async for _ in signals:
                return


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:  # noqa: PLR2004 - the highest port
        raise RouterError(f"--listen {listen} is no ADDRESS:PORT (for example 127.0.0.1:6060)")
    return host.strip("[]"), int(port)
