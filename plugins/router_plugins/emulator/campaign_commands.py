"""The subcommands of `router emulator` that send campaigns, and tell what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Annotated
from urllib.parse import quote

import typer

from router import RouterError, harmless_json
from router_plugins.emulator import remote
from router_plugins.emulator.lists import CAMPAIGNS, HERE, At, Json
from router_plugins.emulator.replies import STATUS

Campaign = Annotated[str, typer.Argument(help="Its name, as c1.")]
Several = list[str] | None


def campaign(
    results: Annotated[int, typer.Argument(help="How many results.")],
    *,
    seed: int = 1,
    rate: Annotated[float, typer.Option(help="Results a second; 0 for as fast as it goes.")] = 0,
    form: Annotated[str, typer.Option(help="text, later, cloudevents or mixed.")] = "text",
    duplicates: Annotated[float, typer.Option(help="Share of the results published twice.")] = 0,
    account: Annotated[Several, typer.Option(help="A sender's address; may be repeated.")] = None,
    region: Annotated[Several, typer.Option(help="As cn-hangzhou; may be repeated.")] = None,
    mix: Annotated[
        Several, typer.Option(help=f"What becomes of mails: KIND=WEIGHT,... of {', '.join(STATUS)}; or published.")
    ] = None,
    domains: Annotated[Several, typer.Option(help="The recipients': DOMAIN[=WEIGHT],...")] = None,
    recovered: Annotated[
        float | None, typer.Option(help="Share of the failed that come through when they are sent again.")
    ] = None,
    feedback: Annotated[float, typer.Option(help="Share of opens, clicks and the like, as CloudEvents only.")] = 0,
    odd: Annotated[float | None, typer.Option(help="Share of recipients with + = & or %.")] = None,
    tag: Annotated[Several, typer.Option(help="A tag of the mails; may be repeated.")] = None,
    start: Annotated[str | None, typer.Option(help="When the first mail was accepted, as 2026-03-01T09:00:00.")] = None,
    at: At = HERE,
) -> None:
    """Start a campaign: results published through the rules that are active.

    Without --mix, 12.93 % of the mails fail at first and a third of those come through later, as published of a large
    sender (doi 10.1145/3646547.3688425).

    Example: router emulator campaign 1000 --rate 100 --form mixed --region cn-hangzhou --mix success=9,spam=1
    """
    order = {
        "results": results, "seed": seed, "rate": rate, "form": form, "duplicates": duplicates, "feedback": feedback,
        "accounts": _listed(account), "regions": _listed(region), "mix": None if mix == ["published"] else _kinds(mix),
        "domains": _weights("--domains", domains), "recovered": recovered, "odd": odd, "tags": tag, "start": start,
    }  # fmt: skip
    given = {name: value for name, value in order.items() if value is not None}
    remote.show(remote.ask(at, "POST", "/campaigns", given))


def campaigns(*, as_json: Json = False, at: At = HERE) -> None:
    """List the campaigns, and how far they are."""
    rows = remote.ask(at, "GET", "/campaigns")
    remote.show(rows) if as_json else remote.table(rows, CAMPAIGNS)


def progress(name: Campaign, at: At = HERE) -> None:
    """Show how far a campaign is."""
    remote.show(remote.ask(at, "GET", f"/campaigns/{quote(name, safe='')}"))


def stop(name: Campaign, at: At = HERE) -> None:
    """Publish no more of a campaign."""
    remote.ask(at, "DELETE", f"/campaigns/{quote(name, safe='')}")


def ledger(campaign: Annotated[str, typer.Option(help="One campaign only, as c1.")] = "", at: At = HERE) -> None:
    """Print what was sent and what became of it, one JSON object a line."""
    with remote.answer(
        at, "GET", "/ledger" + (f"?campaign={quote(campaign, safe='')}" if campaign else "")
    ) as response:
        for line in response:
            typer.echo(harmless_json(line), nl=False)


def _listed(texts: Several) -> list[str] | None:
    """Return the parts of what was given, with commas or several times; None where nothing was."""
    return None if texts is None else [part.strip() for text in texts for part in text.split(",")]


def _kinds(texts: Several) -> dict[str, float] | None:
    weights = _weights("--mix", texts, need="=")
    for kind in weights or ():
        if kind not in STATUS:
            raise RouterError(f"--mix: there is no kind {kind!r}; there are {', '.join(STATUS)}")
    return weights


def _weights(option: str, texts: Several, *, need: str = "") -> dict[str, float] | None:
    """Read NAME=WEIGHT parts; a weight that may be left out is 1."""
    parts = _listed(texts)
    if parts is None:
        return None
    weights: dict[str, float] = {}
    for part in parts:
        name, equals, text = part.partition("=")
        try:
            weight = float(text.removesuffix("%")) if equals else 1.0
        except ValueError:
            weight = -1.0
        if not name or not weight >= 0 or not isfinite(weight) or (need and not equals):
            raise RouterError(f"{option} {part!r} is not of the form NAME=WEIGHT, with a weight of 0 or more")
        if name in weights:
            raise RouterError(f"{option} has {name} twice")
        weights[name] = weight
    return weights


COMMANDS: Sequence[Callable[..., None]] = (campaign, campaigns, progress, stop, ledger)
"""In the order of the help."""
