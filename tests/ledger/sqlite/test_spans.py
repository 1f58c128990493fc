"""Ranges of time in SQLite: few rows are read, and in their order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import pytest

from proxy.ledger.grouping import Ask
from proxy.ledger.spans import Piece, pieces
from proxy.ledger.sqlite.read_only import reading
from proxy.ledger.sqlite.spans import reach, source
from tests.ledger.ledgers import opened_sqlite
from tests.ledger.samples import START_MS, rows
from tests.ledger.seasons import DAY_MS, year


def asking(*by: str, **more: str) -> Ask:
    return Ask(by, None, None, UTC, ["requests", "charge_nano"], **more)


@pytest.fixture(scope="module")
def booked_year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with opened_sqlite(tmp_path_factory.mktemp("year")) as book:
        year(book)
        yield Path(book.name)


def test_few_rows_are_read_for_months(booked_year: Path) -> None:
    """SQLite is to go by the keys, group by group, and sort nothing of what is many."""
    with reading(booked_year) as connection:
        query, bounds = source(
            pieces(START_MS - 60 * DAY_MS, START_MS - DAY_MS, reach(connection, 3)),
            asking("team", "key", "model", "upstream"),
        )
        plan = [row[3] for row in rows(connection, f"EXPLAIN QUERY PLAN {query}", *bounds)]
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN rollups") for step in plan), plan
    assert (
        sum(step.startswith("SCAN g") for step in plan)
        == sum("PRIMARY KEY (group_id=?" in step for step in plan)
        >= 2
    )


def test_of_one_key_only_its_own_rows_are_read(booked_year: Path) -> None:
    """Whatever others used: by the indexes that begin with the key, or have it next."""
    with reading(booked_year) as connection:
        until_ms = reach(connection, 3).folded_until_ms
        query, bounds = source(
            pieces(START_MS - 60 * DAY_MS, START_MS + DAY_MS, reach(connection, 3)),
            asking("model", team="a", key="k1"),
        )
        plan = [row[3] for row in rows(connection, f"EXPLAIN QUERY PLAN {query}", *bounds)]
    assert until_ms < START_MS, "some of it is in quarter hours"
    read = [step for step in plan if step.split()[1:2] in (["g"], ["rollups"])]
    assert len(read) >= 3, plan
    for step in read:
        assert (
            "rollup_groups_names (key_id=?" in step
            or "rollups_group (bucket_ms=? AND key_id=?" in step
            or "COVERING INDEX rollups_group (bucket_ms" in step  # which quarter hours there are
        ), plan


def test_groups_come_as_they_are(booked_year: Path) -> None:
    with reading(booked_year) as connection:
        query, bounds = source([Piece("rollups_monthly", None, None)], asking("upstream", "key"))
        assert [column[0] for column in connection.execute(query, bounds).description] == [
            "upstream",
            "key_id",
            "currency",
            "requests_h",
            "requests_l",
            "charge_nano_h",
            "charge_nano_l",
        ]
