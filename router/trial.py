"""The `tests:` of a config: messages, and to which subscriptions they must go. Pure."""

from __future__ import annotations

import msgspec

from router.config.model import Config, Trial
from router.config.plan import subscriptions
from router.errors import Reject
from router.event import Message
from router.intake import event_of
from router.match import Routes, text_of
from router.steps import apply


class Verdict(msgspec.Struct, frozen=True):
    """What came of a test; `problems` is empty if it was as expected."""

    name: str
    subscriptions: tuple[str, ...]
    problems: tuple[str, ...]


def try_all(config: Config) -> list[Verdict]:
    """Run every test of a config: decode, match, apply the steps; nothing is delivered."""
    planned = subscriptions(config)
    routes = Routes([one.route for one in planned], config.decoder)
    verdicts: list[Verdict] = []
    for trial in config.tests:
        source = trial.source or next(iter(config.sources))
        event = event_of(config.decoder, Message(trial.message.encode(), 0.0), source)
        forms = {planned[i].name: apply(planned[i].subscription.steps, event) for i in routes.wanted(event)}
        goes = tuple(name for name, form in forms.items() if form is not None and not isinstance(form, Reject))
        problems = [f"{name}: {form.reason}" for name, form in forms.items() if isinstance(form, Reject)]
        found = {name: text_of(event, name) for name in trial.expect.fields}
        problems += [
            f"{name} is `{found[name]}`, not `{text}`"
            for name, text in trial.expect.fields.items()
            if found[name] != (config.decoder.types.get(text, text) if name == "type" else text)
        ]
        verdicts.append(Verdict(trial.name, goes, (*problems, *_unlike(trial, goes))))
    return verdicts


def _unlike(trial: Trial, goes: tuple[str, ...]) -> list[str]:
    """Say where it goes and should not, and where it should and does not."""
    if trial.expect.subscriptions is None:
        return []
    missing = [f"does not go to {name}" for name in trial.expect.subscriptions if name not in goes]
    return missing + [f"goes to {name}, too" for name in goes if name not in trial.expect.subscriptions]
