"""What several tests of the journal begin with."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from fakes.spoilt import fill, folded


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journal some hundred events of all sizes; some are parked, some dead; the file has no WAL beside it."""
    state = tmp_path_factory.mktemp("whole")
    anyio.run(fill, state)
    folded(state)
    return state
