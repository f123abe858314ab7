"""The subcommands of `router emulator`: what the console does by hand, against an emulator that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import quote

import typer

from router import RouterError, harmless_json
from router_plugins.emulator import remote
from router_plugins.emulator.lists import HERE, KINDS, At, lister, pushes

Name = Annotated[str, typer.Argument()]


def add_commands(app: typer.Typer) -> None:
    """Add the subcommands to `router emulator`."""
    for name, (_, words, _) in KINDS.items():
        group = typer.Typer(help=f"Create, list and delete {words}.", no_args_is_help=True)
        group.command("list")(lister(name))
        app.add_typer(group, name=name)
        for command, function in _GROUPS[name].items():
            group.command(command)(function)
    for function in (status, peek, receive, send, publish, pushes, campaign, ledger, faults):
        app.command()(function)


def create_rule(
    name: Name,
    *,
    types: Annotated[list[str], typer.Option("--type", help="Event type; may be repeated.")],
    region: str = "cn-hangzhou",
    topic: Annotated[str | None, typer.Option(help="The one topic to publish to.")] = None,
    endpoint: Annotated[list[str] | None, typer.Option(help="URL or acs:mns:... queue; may be repeated.")] = None,
    delay: Annotated[float | None, typer.Option(help="Seconds until it takes effect.")] = None,
    at: At = HERE,
) -> None:
    """Create an event rule.

    Example: router emulator rule create all --type Deliver:SendFailed --endpoint http://127.0.0.1:8080/notifications
    """
    order = {
        "name": name,
        "types": types,
        "region": region,
        "topic": topic,
        "endpoints": endpoint or [],
        "delay": delay,
    }
    remote.show(remote.ask(at, "POST", "/rules", order))


def delete_rule(name: Name, at: At = HERE) -> None:
    """Delete an event rule, and the topic that was made for it."""
    remote.ask(at, "DELETE", f"/rules/{quote(name, safe='')}")


def create_bus_rule(
    name: Name,
    *,
    types: Annotated[list[str], typer.Option("--type", help="Event type; may be repeated.")],
    endpoint: Annotated[str, typer.Option(help="URL, or acs:mns:... queue, of the target.")],
    token: Annotated[str, typer.Option(help="The target's token, which pushes carry.")] = "",
    region: str = "cn-hangzhou",
    strategy: Annotated[str, typer.Option(help="BACKOFF_RETRY or EXPONENTIAL_DECAY_RETRY.")] = "BACKOFF_RETRY",
    signature: Annotated[list[str] | None, typer.Option(help="v1 or v2; may be repeated. Default: both.")] = None,
    at: At = HERE,
) -> None:
    """Create a rule of EventBridge's bus: its target gets CloudEvents.

    Example: router emulator bus create all --type dm:Deliver:Fail --endpoint http://127.0.0.1:8080/events --token x
    """
    order = {
        "name": name, "types": types, "endpoint": endpoint, "token": token, "region": region, "strategy": strategy,
        "signatures": signature or ["v2", "v1"],
    }  # fmt: skip
    remote.show(remote.ask(at, "POST", "/bus", order))


def delete_bus_rule(name: Name, at: At = HERE) -> None:
    """Delete a rule of the bus."""
    remote.ask(at, "DELETE", f"/bus/{quote(name, safe='')}")


def create_queue(name: Name, visibility: Annotated[int, typer.Option(help="Seconds.")] = 30, at: At = HERE) -> None:
    """Create a queue."""
    remote.show(remote.ask(at, "POST", "/queues", {"name": name, "attributes": {"VisibilityTimeout": visibility}}))


def delete_queue(name: Name, at: At = HERE) -> None:
    """Delete a queue and what is in it."""
    remote.ask(at, "DELETE", f"/queues/{quote(name, safe='')}")


def create_topic(name: Name, at: At = HERE) -> None:
    """Create a topic."""
    remote.show(remote.ask(at, "POST", "/topics", {"name": name}))


def delete_topic(name: Name, at: At = HERE) -> None:
    """Delete a topic and its subscriptions."""
    remote.ask(at, "DELETE", f"/topics/{quote(name, safe='')}")


def create_subscription(
    topic: Name,
    name: Name,
    *,
    endpoint: Annotated[str, typer.Option(help="The URL to push to.")] = "",
    queue: Annotated[str, typer.Option(help="Or the queue to put messages into.")] = "",
    content_format: Annotated[str, typer.Option("--format", help="SIMPLIFIED, XML or JSON.")] = "SIMPLIFIED",
    strategy: Annotated[str, typer.Option(help="BACKOFF_RETRY or EXPONENTIAL_DECAY_RETRY.")] = "BACKOFF_RETRY",
    filter_tag: str = "",
    dead_letter: Annotated[str, typer.Option(help="Queue for what is given up on.")] = "",
    at: At = HERE,
) -> None:
    """Subscribe an endpoint or a queue to a topic."""
    order = {
        "topic": topic, "name": name, "endpoint": endpoint, "queue": queue, "content_format": content_format,
        "strategy": strategy, "filter_tag": filter_tag, "dead_letter_queue": dead_letter,
    }  # fmt: skip
    remote.show(remote.ask(at, "POST", "/subscriptions", order))


def delete_subscription(topic: Name, name: Name, at: At = HERE) -> None:
    """End a subscription."""
    remote.ask(at, "DELETE", f"/subscriptions/{quote(topic, safe='')}/{quote(name, safe='')}")


def status(at: At = HERE) -> None:
    """Show what there is, and where the certificate of the pushes is."""
    remote.show(remote.ask(at, "GET", "/status"))


def peek(queue: Name, *, count: int = 16, at: At = HERE) -> None:
    """Print the messages of a queue that could be received, one JSON object a line, and leave them there."""
    remote.lines(remote.ask(at, "GET", f"/queues/{quote(queue, safe='')}/messages?limit={count}"))


def receive(
    queue: Name,
    *,
    count: int = 16,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is received.")] = False,
    at: At = HERE,
) -> None:
    """Receive messages of a queue and print them, one JSON object a line.

    Example: router emulator receive results --count 1 --delete
    """
    remote.lines(remote.ask(at, "POST", f"/queues/{quote(queue, safe='')}/receive", {"count": count, "delete": delete}))


def send(queue: Name, body: Annotated[str, typer.Argument()], at: At = HERE) -> None:
    """Send a message to a queue."""
    remote.show(remote.ask(at, "POST", f"/queues/{quote(queue, safe='')}/messages", {"body": body}))


def publish(topic: Name, body: Annotated[str, typer.Argument()], tag: str = "", at: At = HERE) -> None:
    """Publish a message to a topic."""
    remote.show(remote.ask(at, "POST", f"/topics/{quote(topic, safe='')}/messages", {"body": body, "tag": tag}))


def campaign(
    results: Annotated[int, typer.Argument(help="How many results.")],
    *,
    seed: int = 1,
    rate: Annotated[float, typer.Option(help="Results a second; 0 for as fast as it goes.")] = 0,
    form: Annotated[str, typer.Option(help="text, later, cloudevents or mixed.")] = "text",
    duplicates: Annotated[float, typer.Option(help="Share of the results published twice.")] = 0,
    at: At = HERE,
) -> None:
    """Start a campaign: results published through the rules that are active.

    Example: router emulator campaign 1000 --rate 100 --form mixed
    """
    order = {"results": results, "seed": seed, "rate": rate, "form": form, "duplicates": duplicates}
    remote.show(remote.ask(at, "POST", "/campaigns", order))


def ledger(campaign: Annotated[str, typer.Option(help="One campaign only, as c1.")] = "", at: At = HERE) -> None:
    """Print what was sent and what became of it, one JSON object a line."""
    with remote.answer(
        at, "GET", "/ledger" + (f"?campaign={quote(campaign, safe='')}" if campaign else "")
    ) as response:
        for line in response:
            typer.echo(harmless_json(line), nl=False)


def faults(
    setting: Annotated[list[str] | None, typer.Argument(help="NAME=NUMBER, as duplicates=0.1.")] = None,
    at: At = HERE,
) -> None:
    """Show the faults to order; with NAME=NUMBER, set these and end all others.

    Example: router emulator faults duplicates=0.05 errors=0.01
    """
    if not setting:
        remote.show(remote.ask(at, "GET", "/faults"))
        return
    pairs = [text.partition("=") for text in setting]
    try:
        order = {name: float(number) for name, _, number in pairs}
    except ValueError as error:
        raise RouterError(f"{' '.join(setting)} is not of the form NAME=NUMBER") from error
    remote.show(remote.ask(at, "PUT", "/faults", order))


_GROUPS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "rule": {"create": create_rule, "delete": delete_rule},
    "bus": {"create": create_bus_rule, "delete": delete_bus_rule},
    "queue": {"create": create_queue, "delete": delete_queue},
    "topic": {"create": create_topic, "delete": delete_topic},
    "subscription": {"create": create_subscription, "delete": delete_subscription},
}
