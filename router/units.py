"""Units of the config: durations and sizes, as text with a unit or as a plain number."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

Duration: TypeAlias = Annotated[float, msgspec.Meta(ge=0, description="a duration such as 500ms, 90s, 5m, 24h, 7d")]
"""Seconds."""

Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0, description="a size such as 64KiB, 10MB, 20GiB")]
"""Bytes."""
