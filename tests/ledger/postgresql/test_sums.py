"""The sums of roll-ups are those of SQLite, and a span begins where it does there."""

from __future__ import annotations

import pytest

from proxy.ledger.postgresql import sums
from proxy.ledger.sqlite import sums as sqlite_sums
from tests.ledger.postgresql.databases import migrated
from tests.ledger.samples import START_MS

pytestmark = pytest.mark.whole  # a server of its own


def test_both_databases_sum_the_same() -> None:
    assert sums.GROUPS == sqlite_sums.GROUPS
    ours = {name: expression.removesuffix("::int") for name, expression in sums.SUMS}
    assert ours == dict(sqlite_sums.SUMS)
    assert [f.tables for f in sums.FAMILIES] == [f.tables for f in sqlite_sums.FAMILIES]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_a_span_begins_at_its_utc_time_whatever_the_connections_zone(zone: str) -> None:
    with migrated() as connection:
        connection.execute("SELECT set_config('TimeZone', %s, false)", (zone,))
        starts = ", ".join(start.format(at="%(at)s::bigint") for _, start in sums.KEYED.wide)
        for at_ms, month_ms in (
            (START_MS, 1_793_491_200_000),
            (1_796_083_199_999, 1_793_491_200_000),
            (1_796_083_200_000, 1_796_083_200_000),
            (0, 0),
            (-1, 0),
            (2**62, 253_399_622_400_000),
        ):
            row = connection.execute(f"SELECT {starts}", {"at": at_ms})
            found = row.fetchone()
            assert found is not None
            assert found[2] == month_ms
            if at_ms >= 0:
                assert found[:2] == (
                    at_ms // 14_400_000 * 14_400_000,
                    at_ms // 86_400_000 * 86_400_000,
                )
