"""What a check of a journal finds."""

from __future__ import annotations

import msgspec


class Damage(msgspec.Struct, frozen=True):
    """Something that is not as it should be, between two positions; and whether a repair can set it aside."""

    first: int
    last: int
    problem: str
    repairable: bool


class CheckReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found in the whole of a journal.

    `set_aside` events were damaged before and are set aside; `renamed` ones would get another id from today's decoder
    (they keep the one that they were journalled under): neither is damage. `lost` is what an earlier start could not
    find, and nobody has taken note of yet.
    """

    events: int
    damage: tuple[Damage, ...]
    set_aside: int
    renamed: int
    lost: tuple[Damage, ...] = ()


class Repair(msgspec.Struct, frozen=True):
    """What a repair did: how many rows it set aside, with their bytes, and what could not be read at all."""

    rows: int
    lost: tuple[Damage, ...] = ()
