"""The stores that each test of the contract runs over."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.quota.stores import KINDS, InMemory, Store
from tests.quota.valkey.shared import InValkey


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """One kind of store after another."""
    if request.param == "memory":
        yield InMemory()
        return
    shared = InValkey(request.getfixturevalue("valkey"))
    yield shared
    await shared.aclose()
