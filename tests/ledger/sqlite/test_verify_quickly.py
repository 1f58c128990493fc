"""The quick look at roll-ups says that all is well where the whole check does, and only there."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.ledger.sqlite.sums import FAMILIES, SpanFamily
from proxy.ledger.sqlite.verify_quickly import is_quick, wide_quickly
from proxy.ledger.sqlite.verify_sums import rollups_step, wide_step
from tests.ledger.whole_book import forger_of, whole_book
from tests.support.effort import examples

SPANS = [table for family in FAMILIES for table, _ in family.wide]
TABLES = ["rollups", *SPANS, *(family.names for family in FAMILIES)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_book(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def forger(sound: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    shutil.copytree(sound.parent, tmp_path, dirs_exist_ok=True)
    connection = forger_of(tmp_path / sound.name)
    yield connection
    connection.close()


def findings(connection: sqlite3.Connection, *, quickly: bool) -> list[str]:
    """What both parts find."""
    found: list[str] = []
    for step in (rollups_step, wide_step):
        place, first = None, True
        while first or place is not None:
            told = step(connection, place, quickly=quickly)
            found += [finding.what for finding in told.findings]
            place, first = told.next, False
    return found


def is_quickly_sound(connection: sqlite3.Connection) -> bool:
    """Whether the quick look at wide spans comes to its end."""
    step = wide_quickly(connection, None)
    while step is not None and step.next is not None:
        assert is_quick(step.next)
        step = wide_quickly(connection, step.next)
    return step is not None


def test_a_sound_book_is_looked_at_quickly_to_its_end(forger: sqlite3.Connection) -> None:
    assert is_quickly_sound(forger)
    counted = forger.execute(
        " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in SPANS)
    ).fetchall()
    rows, place = 0, None
    while place is not None or not rows:
        step = wide_step(forger, place)
        rows, place = rows + step.rows, step.next
    assert rows == sum(count for (count,) in counted)


@settings(
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_it_finds_what_the_whole_check_finds(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("forged")
    shutil.copytree(sound.parent, directory, dirs_exist_ok=True)
    connection = forger_of(directory / sound.name)
    try:
        forge(connection, data)
        whole = findings(connection, quickly=False)
        assert findings(connection, quickly=True) == whole
    finally:
        connection.close()
        shutil.rmtree(directory)


def forge(connection: sqlite3.Connection, data: st.DataObject) -> None:
    """Change, delete, double or move one row of one table."""
    table = data.draw(st.sampled_from(TABLES))
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    key = "rowid" if table == "rollups" or table.endswith(("groups", "teams")) else None
    keys = [key] if key else columns[:2]
    at = data.draw(st.integers(0, count - 1))
    row = connection.execute(
        f"SELECT {', '.join(keys)} FROM {table} ORDER BY 1, 2 LIMIT 1 OFFSET {at}"
        if len(keys) > 1
        else f"SELECT rowid FROM {table} LIMIT 1 OFFSET {at}"
    ).fetchone()
    where = " AND ".join(f"{name} = ?" for name in keys)
    if data.draw(st.integers(0, 4)) == 0:
        connection.execute(f"DELETE FROM {table} WHERE {where}", row)
        return
    column = data.draw(st.sampled_from(columns))
    values = st.sampled_from([None, 0, 1, -1, 5.0, 0.5, "5", "x", b"5", 2**62, START, 2**63 - 1])
    now = data.draw(values | st.integers(-(2**63), 2**63 - 1))
    try:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (now, *row))
    except sqlite3.IntegrityError:
        assert column in columns  # a key that is there already, or no number for a row's own


START = 1_793_491_200_000


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE rollups SET requests = requests + 1 WHERE rowid = 3",
        "UPDATE rollups SET requests = requests + 0.5 WHERE rowid = 3",
        "UPDATE rollups SET requests = CAST(requests AS BLOB) WHERE rowid = 3",
        "UPDATE rollups SET output_tokens = NULL WHERE rowid = 3",
        "UPDATE rollups_4h SET cost_nano_low = cost_nano_low + 4294967296, "
        "cost_nano_high = cost_nano_high - 1 WHERE cost_nano_low IS NOT NULL",
        "UPDATE rollups_daily SET bucket_ms = bucket_ms + 1",
        "UPDATE rollups_monthly SET requests = requests + 1",
        "DELETE FROM rollups_4h WHERE group_id = 1",
        "DELETE FROM teams_monthly WHERE group_id = 1",
        "DELETE FROM rollup_groups WHERE id = 1",
        "DELETE FROM rollup_teams WHERE id = 1",
        "INSERT INTO teams_daily SELECT 99, bucket_ms, requests, input_tokens, cached_tokens, "
        "cache_write_tokens, output_tokens, reasoning_tokens, cost_nano_high, cost_nano_low, "
        "charge_nano_high, charge_nano_low, reported_requests, unpriced_requests, "
        "cache_write_long_tokens, searches FROM teams_daily WHERE group_id = 1",
        "UPDATE fold SET folded_until_ms = folded_until_ms + 1",
        "UPDATE fold SET folded_until_ms = folded_until_ms - 86400000",
    ],
)
def test_a_forgery_is_told_as_the_whole_check_tells_it(
    forger: sqlite3.Connection, forgery: str
) -> None:
    assert forger.execute(forgery).rowcount > 0
    found = findings(forger, quickly=True)
    assert found == findings(forger, quickly=False)
    # A low half may be as large as it likes: the amount is the same, and only the look is longer.
    assert found or "4294967296" in forgery


def test_what_is_carried_beside_the_sums_is_never_passed_over(forger: sqlite3.Connection) -> None:
    forger.execute("CREATE TABLE IF NOT EXISTS carried_sums (span TEXT)")
    assert is_quickly_sound(forger)
    columns = [row[1] for row in forger.execute("PRAGMA table_info(carried_sums)")]
    marks = ", ".join("0" for _ in columns)
    forger.execute(f"INSERT INTO carried_sums VALUES ({marks})")
    assert not is_quickly_sound(forger)


def test_each_step_of_the_whole_walk_is_no_quick_place(forger: sqlite3.Connection) -> None:
    step = partial(wide_step, forger, quickly=False)
    told = step(None)
    while told.next is not None:
        assert not is_quick(told.next)
        told = step(told.next)


def test_spans_of_no_group_that_agree_with_one_another_are_found(
    forger: sqlite3.Connection,
) -> None:
    for table, _ in FAMILIES[0].wide:
        names = [row[1] for row in forger.execute(f"PRAGMA table_info({table})")][1:]
        forger.execute(
            f"INSERT INTO {table} SELECT 99, {', '.join(names)} FROM {table} WHERE group_id = 1"
        )
    assert not is_quickly_sound(forger)
    assert findings(forger, quickly=True) == findings(forger, quickly=False) != []


@pytest.mark.parametrize("which", ["group_id = 1", "true"])
def test_a_group_that_is_gone_with_all_its_spans_is_found(
    forger: sqlite3.Connection, which: str
) -> None:
    keyless = FAMILIES[1]
    for table, _ in keyless.wide:
        assert forger.execute(f"DELETE FROM {table} WHERE {which}").rowcount > 0
    forger.execute(f"DELETE FROM {keyless.names} WHERE {which.replace('group_id', 'id')}")
    assert findings(forger, quickly=True) == findings(forger, quickly=False) != []


def test_a_group_that_is_there_twice_with_all_its_spans_is_found(
    forger: sqlite3.Connection,
) -> None:
    keyless = FAMILIES[1]
    forger.execute(f"DROP INDEX {keyless.names}_names")
    names = ", ".join(keyless.groups)
    forger.execute(
        f"INSERT INTO {keyless.names} (id, {names}) SELECT 99, {names} FROM {keyless.names} "
        "WHERE id = 1"
    )
    for table, _ in keyless.wide:
        columns = [row[1] for row in forger.execute(f"PRAGMA table_info({table})")][1:]
        forger.execute(
            f"INSERT INTO {table} SELECT 99, {', '.join(columns)} FROM {table} WHERE group_id = 1"
        )
    assert not is_quickly_sound(forger)


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_before_the_first_number_is_found(
    forger: sqlite3.Connection, family: SpanFamily, number: int
) -> None:
    for table, _ in family.wide:
        forger.execute(f"UPDATE {table} SET group_id = ? WHERE group_id = 1", (number,))
    forger.execute(f"UPDATE {family.names} SET id = ? WHERE id = 1", (number,))
    assert findings(forger, quickly=True) == []
    days = family.wide[1][0]
    forger.execute(f"UPDATE {days} SET requests = requests + 1 WHERE group_id = ?", (number,))
    assert findings(forger, quickly=True) == findings(forger, quickly=False) != []
