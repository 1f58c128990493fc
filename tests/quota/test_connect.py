"""A quota store is opened by its URL."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from proxy.quota import QuotaError, connect


@pytest.mark.parametrize(
    "url", ["", "counter:", "budget:x", "../memory:", "memory:x", "memory://h"]
)
async def test_a_store_that_does_not_exist_is_named(url: str) -> None:
    with pytest.raises(QuotaError, match=r"memory:"):
        await connect(url, ZoneInfo("UTC"))
