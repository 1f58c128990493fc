"""The processes that share a ledger are counted by state; without an answer nothing is said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from proxy.ledger.postgresql.sharing import PostgresSharing
from proxy.metrics.families import Families
from proxy.metrics.instances import InstanceStates
from tests.ledger.postgresql.books import books


def shown(states: InstanceStates) -> dict[Sequence[str], float]:
    families = Families()
    states.collect(families)
    [metric] = [one for one in families.all() if one.name == "tollkeeper_instances"]
    return {sample.labels["state"]: sample.value for sample in metric.samples}


async def test_a_process_that_has_the_ledger_alone_is_one() -> None:
    states = InstanceStates(None)
    await states.refresh()
    assert shown(states) == {"live": 1, "left": 0, "lapsed": 0}


@pytest.mark.whole  # a server of its own
async def test_processes_are_counted_by_their_state() -> None:
    with books() as book:
        book.rows("SELECT 1")
        sharing = PostgresSharing(book.url)
        states = InstanceStates(sharing)
        assert shown(states) == {}, "nobody was asked"
        for name in "abcd":
            one = PostgresSharing(book.url)
            await one.arrive(name, "x")
            if name == "d":
                await one.leave()
            await one.aclose()
        book.do("UPDATE instances SET seen_at = seen_at - interval '1 minute' WHERE name = 'b'")
        await states.refresh()
        assert shown(states) == {"live": 2, "left": 1, "lapsed": 1}
        book.do("ALTER TABLE instances RENAME TO others")
        await states.refresh()
        assert shown(states) == {}
        await sharing.aclose()
