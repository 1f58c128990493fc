"""The names of an order by hand: known to the config, or to a record, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.accounting.adjust_order import AdjustOrder, AmountEntry, UseMove, check_names
from proxy.core.errors import ProxyError
from tests.accounting.test_adjusting import KNOWN, UTC_ZONE
from tests.ledger.conftest import PARAMS, kind, ledgers
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import make_record

__all__ = ["PARAMS", "kind", "ledgers"]  # fixtures
AMOUNT = {"amount": "1", "currency": "USD"}


def order(**said: Any) -> AdjustOrder:
    return AdjustOrder(id="e1", month="2026-11", reason="so agreed", dry_run=True, **said)


async def test_a_name_that_nobody_knows_is_refused(ledgers: BookUnderTest) -> None:
    ledgers.book(make_record(0, key_id="left", upstream="gone", team="closed"))
    ledger = await ledgers.open(ledgers.key_file)
    reader = ledgers.reader()
    try:
        for said, refused in (
            ({"team": "reserch"}, "no team 'reserch'. The nearest is 'research'. `tollkeeper team"),
            ({"key": "bobb"}, "no key 'bobb'. The nearest is 'bob'. `tollkeeper key list`"),
            ({"upstream": "opnai"}, "no upstream 'opnai'. The nearest is 'openai'. `upstreams`"),
            ({"upstream": "zzz"}, "no upstream 'zzz'. `upstreams` of the config names all."),
        ):
            wrong = [order(amount=AmountEntry(**AMOUNT, **said))]
            if "team" in said:
                wrong.append(order(move=UseMove(key="bob", to_team=said["team"])))
            for one in wrong:
                with pytest.raises(ProxyError) as told:
                    check_names(one, KNOWN, reader, UTC_ZONE)
                assert told.value.status == 400 and refused in told.value.message
        # A record still has what the config has not any more.
        known = AmountEntry(**AMOUNT, team="closed", key="left", upstream="gone")
        check_names(order(amount=known), KNOWN, reader, UTC_ZONE)
        check_names(order(amount=AmountEntry(**AMOUNT)), KNOWN, reader, UTC_ZONE)
    finally:
        await ledger.aclose()
