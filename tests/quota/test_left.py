"""The holds of another process are asked for by the store's URL."""

from __future__ import annotations

import pytest

from proxy.quota import QuotaError
from proxy.quota.left import HeldRequest, connect_left


async def test_a_store_in_memory_has_no_other_processes() -> None:
    assert await connect_left("memory:", "a", 1.0) is None


async def test_a_store_that_does_not_exist_is_named() -> None:
    for url in ("budget:x", "nothing:"):
        with pytest.raises(QuotaError, match=r"quota\.url"):
            await connect_left(url, "a", 1.0)


def test_one_that_passed_while_the_store_was_away_is_of_the_same_exchange() -> None:
    assert HeldRequest("x1+", None, 0).id == HeldRequest("x1", None, 0).id == "x1"
