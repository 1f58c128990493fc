"""Tried again until it works, and said once a minute."""

from __future__ import annotations

import logging

import pytest

from proxy.accounting.retries import Retries
from proxy.ledger import LedgerError, LedgerUnavailable


async def test_until_it_works(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[Exception] = [LedgerUnavailable("locked"), OSError("full")]

    async def attempt() -> str:
        if faults:
            raise faults.pop(0)
        return "booked"

    retries = Retries(lambda: 3)
    with caplog.at_level(logging.WARNING, "tollkeeper.recorder"):
        assert await retries.until_done(attempt) == "booked"
    assert retries.failures == 2
    assert [record.getMessage() for record in caplog.records] == [
        "3 records wait and cannot be booked now; trying on: locked",
        "records are booked again",
    ]
    assert await retries.until_done(attempt) == "booked" and retries.failures == 2


async def test_what_waiting_does_not_help_is_not_tried_again() -> None:
    async def attempt() -> None:
        raise LedgerError("no such table")

    retries = Retries(lambda: 0)
    with pytest.raises(LedgerError):
        await retries.until_done(attempt)
    assert retries.failures == 0
