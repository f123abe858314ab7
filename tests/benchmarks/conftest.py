from collections.abc import Iterator

import pytest

from benchmarks.tree import Tree, working_tree


@pytest.fixture(scope="session")
def tree() -> Iterator[Tree]:
    with working_tree() as found:
        yield found
