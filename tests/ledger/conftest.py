"""The ledgers of the contract tests: `ledgers` is an empty one, of each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.ledger.ledgers import KINDS, BookUnderTest

Kind = Callable[[Path], AbstractContextManager[BookUnderTest]]


# A server of its own takes two seconds, and is not for `make quick`.
PARAMS = [
    pytest.param(name, marks=pytest.mark.whole if name == "postgresql" else ()) for name in KINDS
]


@pytest.fixture(scope="session", params=PARAMS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Makes an empty ledger in a directory."""
    found: Kind = KINDS[request.param]
    return found


@pytest.fixture
def ledgers(kind: Kind, tmp_path: Path) -> Iterator[BookUnderTest]:
    """An empty ledger, whose data_dir is `tmp_path`."""
    with kind(tmp_path) as book:
        yield book
