"""Roll-ups that do not say what their records say are found, whatever width they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.ledger.postgresql.connection import Connection, opened
from proxy.ledger.postgresql.reader import PostgresReader
from proxy.ledger.postgresql.verify_sums import rollups_step, wide_step
from proxy.ledger.verification import NEWEST, PARTS, BookVerified, VerifyStep, verify
from tests.ledger.postgresql.books import Books, books, key_file
from tests.ledger.samples import START_MS, make_id, make_record

pytestmark = pytest.mark.whole  # a server of its own

DAY_MS = 86_400_000


@pytest.fixture
def many() -> Iterator[Books]:
    """Some days of two writers, with a late price; most of it folded."""
    with books() as found:
        for n in range(6):
            found.now_ms = START_MS + n * DAY_MS
            records = [
                make_record(
                    10 * n + m,
                    started_at_ms=found.now_ms,
                    cached_tokens=m or None,
                    writer="ab"[m % 2],
                )
                for m in range(4)
            ]
            found.book(*records, writer="ab"[n % 2])
        price = {"cost_nano": 5, "charge_nano": 6, "currency": "EUR"}
        found.adjust(make_record(900, kind="adjustment", adjusts=make_id(0), reason="r", **price))
        yield found


def verified(book: Books, directory: Path) -> BookVerified:
    return verify(PostgresReader(book.url), key_file(directory))


class Counted:
    """A connection that notes how many rows each of its answers has."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.rows: list[int] = []

    def execute(self, *words: Any) -> Any:
        answer = self._connection.execute(*words)
        self.rows.append(answer.rowcount)
        return answer


@pytest.mark.parametrize("part", [rollups_step, wide_step])
def test_no_line_of_a_sound_book_is_read_into_this_process(
    many: Books, part: Callable[..., VerifyStep]
) -> None:
    """There may be as many lines as records. The server sums and compares them."""
    with opened(many.url, writes=False) as connection, connection.transaction():
        counted, place, lines = Counted(connection), None, 0
        while place is not None or not counted.rows:
            step = part(counted, place)
            place, lines = step.next, lines + step.rows
            assert step.found == 0
        assert lines > 20 and max(counted.rows) == 1


def test_a_book_left_alone_is_in_order(many: Books, tmp_path: Path) -> None:
    found = verified(many, tmp_path)
    assert list(found.findings) == []
    parts = {part.name: (part.rows, part.seals) for part in found.parts}
    assert set(parts) == set(PARTS) and found.through == 25
    assert parts["records"] == (25, 7) and parts["rollups"] == (25, 0)


@pytest.mark.parametrize(
    ("tampering", "part", "said"),
    [
        (
            "UPDATE rollups SET output_tokens = output_tokens + 1 WHERE currency IS NULL",
            "rollups",
            "output_tokens 81 and not 80",
        ),
        ("DELETE FROM rollups WHERE currency = 'EUR'", "rollups", "cost_nano nothing and not 5"),
        ("UPDATE rollups SET bucket_ms = bucket_ms + 900000", "rollups", "requests 4 and not noth"),
        ("UPDATE rollups_4h SET requests = 0", "wide", "rollups_4h of "),
        ("UPDATE rollups_daily SET charge_nano = 7", "wide", "rollups_daily of "),
        ("DELETE FROM rollups_monthly", "wide", "rollups_monthly of "),
        ("UPDATE teams_4h SET requests = requests + 1", "wide", "teams_4h of "),
        ("DELETE FROM teams_daily", "wide", "teams_daily of "),
        ("UPDATE teams_monthly SET cost_nano = 7", "wide", "teams_monthly of "),
        ("UPDATE rollup_teams SET team = 'other'", "wide", "teams_4h of "),
        ("DELETE FROM rollup_teams", "wide", "teams_monthly of "),
        ("UPDATE fold SET folded_until_ms = folded_until_ms - 86400000", "wide", "and not nothing"),
    ],
)
def test_a_wrong_sum_is_found(
    many: Books, tmp_path: Path, tampering: str, part: str, said: str
) -> None:
    many.do(tampering)
    found = [each for each in verified(many, tmp_path).findings if each.part == part]
    assert any(said in each.what for each in found), found


def test_the_newest_part_is_looked_at_in_one_step(many: Books, tmp_path: Path) -> None:
    reader, key = PostgresReader(many.url), key_file(tmp_path)
    step = reader.verify_step(NEWEST, None, key)
    assert (step.rows, step.seals, step.found, step.next) == (25, 7, 0, None)
    many.do("UPDATE rollups SET requests = 9")
    many.do("ALTER TABLE records DISABLE TRIGGER USER")
    many.do("UPDATE records SET status = 201 WHERE chain = 'a' AND chain_seq = 2")
    said = [flaw.what for flaw in reader.verify_step(NEWEST, None, key).findings]
    assert any("changed since it was booked" in each for each in said)
    assert any("requests 9 and not" in each for each in said)


def test_of_a_long_book_only_the_end_is_looked_at(tmp_path: Path) -> None:
    with books() as many:
        for n in range(8):
            batch = [make_record(200 * n + m, writer="ab"[n % 2]) for m in range(200)]
            many.book(*batch, writer="ab"[n % 2])
        step = PostgresReader(many.url).verify_step(NEWEST, None, key_file(tmp_path))
        assert (step.rows, step.seals, step.found) == (1200, 6, 0)


def test_the_audit_and_the_terms_of_prices_are_checked_too(many: Books, tmp_path: Path) -> None:
    many.do("INSERT INTO price_versions VALUES ('0123', 1, 'terms')")
    found = verified(many, tmp_path)
    assert [each.what for each in found.findings] == [
        "price version '0123': its terms were changed"
    ]
