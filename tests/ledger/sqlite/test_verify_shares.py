"""Shares of a file: they begin at chunks of sealed months, and any flipped bit is told the same."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.records.chain import ChainPlace
from proxy.ledger.sqlite import connect_reader
from proxy.ledger.verification import MONTHS, verify
from tests.ledger.shared_walks import in_shares, small_books_too
from tests.ledger.whole_book import forger_of, seal_all, whole_book
from tests.support.effort import examples

TABLES = ["records", "heads", "rollups", "rollups_4h", "rollups_monthly", "teams_daily", "months"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = whole_book(tmp_path_factory.mktemp("sound"))
    assert len(seal_all(path)) == 2
    return path


def test_shares_begin_where_a_chunk_of_a_month_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_books_too(monkeypatch)
    monkeypatch.setattr("proxy.ledger.months.CHUNK", 4)
    path = whole_book(tmp_path)
    ends = [month.last_seq for month in seal_all(path)]
    reader = connect_reader(f"sqlite:{path.name}", path.parent)
    key_file = path.with_name("ledger.key")
    found, workers = in_shares(reader, key_file, 3)
    places = [
        msgspec.json.decode(place or "", type=ChainPlace) for place in workers.places["records"]
    ]
    assert len(places) == 3 and all(place.seq % 4 == 0 or place.seq in ends for place in places)
    assert MONTHS not in workers.places  # their chunks were seen by the walk over the records
    assert found.found == 0 and found == verify(reader, key_file)


@settings(
    max_examples=examples(45),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_one_change_anywhere_is_told_as_one_walk_tells_it(
    sound: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("changed")
    shutil.copytree(sound.parent, directory, dirs_exist_ok=True)
    path = directory / sound.name
    forger = forger_of(path)
    table = data.draw(st.sampled_from(TABLES))
    columns = [row[1] for row in forger.execute(f"PRAGMA table_info({table})")]
    (count,) = forger.execute(f"SELECT count(*) FROM {table}").fetchone()
    row = data.draw(st.integers(0, count - 1))
    picked = forger.execute(f"SELECT * FROM {table} LIMIT 1 OFFSET {row}").fetchone()
    where = " AND ".join(f"{name} IS ?" for name in columns)
    change = data.draw(st.sampled_from(["delete", *columns]))
    try:
        if change == "delete":
            forger.execute(f"DELETE FROM {table} WHERE {where}", picked)
        else:
            value = data.draw(st.sampled_from([None, 0, 3, "x", b"x", 1.5]))
            forger.execute(f"UPDATE {table} SET {change} = ? WHERE {where}", (value, *picked))
    except sqlite3.IntegrityError:
        assert change in columns  # null where there must be a value, or a key that is there
    forger.close()
    reader = connect_reader(f"sqlite:{path.name}", path.parent)
    key_file = path.with_name("ledger.key")
    with pytest.MonkeyPatch.context() as patch:
        small_books_too(patch)
        whole = verify(reader, key_file)
        assert in_shares(reader, key_file, 3)[0] == whole
    shutil.rmtree(directory)
