"""Cases of a test of which the default run takes some and `make test-reliability` the others."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_long(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """All values as cases; those that are not among `quick` are marked `long`. A tuple is several arguments."""
    cases = []
    for value in values:
        arguments = value if isinstance(value, tuple) else (value,)
        cases.append(pytest.param(*arguments, marks=[] if value in quick else pytest.mark.long))
    return cases
