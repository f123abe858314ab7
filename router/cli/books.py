"""The config that a command reads a journal by while no daemon answers: whole, or what can be read of it."""

from __future__ import annotations

import os

from router.cli.whereabouts import NotNamed, Place
from router.config import BadConfig, Config
from router.config.lenient import salvage


def books(place: Place, why: Exception | None = None) -> Config:
    """Return the config, or what can be read of it, and say what is missing.

    Raises `why`, or what is wrong with the config, if it does not even lead to a state folder.
    """
    try:
        return place.load()
    except (BadConfig, NotNamed) as error:
        bad = error
    found = salvage(place.config, os.environ, place.state) if place.config or place.state else None
    if found is None:
        raise why or bad
    if isinstance(bad, BadConfig):
        place.mention(bad.problems)
    return found
