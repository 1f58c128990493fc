"""The stores that each test of the contract runs over."""

from __future__ import annotations

import pytest

from tests.quota.stores import STORES, Store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    """One kind of store after another."""
    kind: str = request.param
    return STORES[kind]()
