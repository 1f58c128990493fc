"""A ledger in SQLite is taken over whole: its hashes, its sums, and all that stands beside them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.core.limits.credit import Credit
from proxy.core.managed import TenantChange
from proxy.core.notices.notice import Claim, Notice
from proxy.ledger import Batch, LedgerError, Refusal, connect, connect_reader
from proxy.ledger.copying import DUMPED, copy
from proxy.ledger.postgresql.schema import allow
from proxy.ledger.reading import GROUPED_BY, Stretch
from proxy.ledger.verification import ANCHOR
from tests.ledger import old_months
from tests.ledger.contract.test_closings import closed
from tests.ledger.ledgers import BookUnderTest, PostgresBook, opened_postgres, opened_sqlite
from tests.ledger.samples import ALICE, KEY, START_MS, deed, make_id, make_record, numbered

pytestmark = pytest.mark.whole  # a server of its own

DAY_MS = 86_400_000
_OF_ARCHIVES = {"checkpoints", "archives", "archived_sums"}
VERSION = hashlib.sha256(b"terms").hexdigest()[:16]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[BookUnderTest]:
    directory = tmp_path / "source"
    directory.mkdir()
    with opened_sqlite(directory) as book:
        yield book


@pytest.fixture
def target(tmp_path: Path) -> Iterator[PostgresBook]:
    directory = tmp_path / "target"
    directory.mkdir()
    with opened_postgres(directory) as book:
        assert isinstance(book, PostgresBook)
        yield book


async def fill(source: BookUnderTest) -> None:
    """Some of everything, with corrections and late prices, most of it folded."""
    for n in range(4):
        at_ms = START_MS + n * DAY_MS
        batch = [
            make_record(
                10 * n + m,
                started_at_ms=at_ms,
                labels={"cost_center": "x\0y"} if m else {},
                tags={"feature": "模型"},
                inconsistent=m == 1,
                cost_nano=7 if m == 2 else None,
                charge_nano=9 if m == 2 else None,
                currency="USD" if m == 2 else None,
                usage_raw=None if m else {"a": 1.5},
                writer=f"w{m}",
            )
            for m in range(5)
        ]
        source.book(*batch, now_ms=at_ms + DAY_MS)
    price = {"cost_nano": 5, "charge_nano": 6, "currency": "EUR"}
    late = make_record(90, kind="adjustment", adjusts=make_id(0), reason="rerate", **price)
    source.adjust([late], now_ms=START_MS + 5 * DAY_MS)
    source.batch(
        Batch(
            "w7",
            position=40,
            salts=[("look-up", b"salt")],
            refusals=[
                Refusal(0, None, "x", 3),
                Refusal(0, "alice", "x", 2, "research", "l" * 9_000),
            ],
            price_versions=[(VERSION, b"terms")],
        )
    )
    ledger = await source.open()
    await ledger.credit(Credit(id="c1", granted_at_ms=1, limit_id="t", unit="USD", amount=-5))
    await ledger.credit(Credit(id="c0", granted_at_ms=2, limit_id="t", unit="USD", amount=9))
    await ledger.change(TenantChange((ALICE,), (deed("create"), deed("suspend"))))
    notice = Notice(event="limit_near", at_ms=7, subject="a", title="t")
    source.rows("INSERT INTO months VALUES (5, 1, '2026-11', 9, 9, x'01', x'02', x'03', 'note')")
    await ledger.claim_notices([Claim(receiver="r", message_id="m", notice=notice)], 0)
    await ledger.close_month(closed(source.key_file), deed("close"))
    await ledger.aclose()


def answers(book: BookUnderTest) -> dict[str, Any]:
    """What a reader says of the ledger, but for its name and size."""
    reader = book.reader()
    whole = Stretch(through=reader.head())
    status = msgspec.structs.asdict(reader.status())
    for own in ("path", "bytes", "schema_version"):
        del status[own]
    ids = [row[0] for page in reader.pages(whole) for row in page.rows]
    return {
        "status": status,
        "pages": list(reader.pages(whole, 7, corrected=True)),
        "entries": [reader.record(str(id)) for id in ids],
        "usage": [reader.usage([name], None, None, UTC) for name in GROUPED_BY],
        "through": reader.usage(["team", "tag:feature"], START_MS + 5, None, UTC, through=12),
        "recent": sorted(map(repr, reader.recent(START_MS - DAY_MS, START_MS + 9 * DAY_MS))),
        "refusals": reader.refusals(None, None),
        "credits": reader.credits(None, None, 9),
        "tenants": reader.tenants(),
        "audit": reader.audit(0, 9),
        "audit_problems": reader.audit_problems(book.key_file),
        "terms": reader.price_terms(VERSION),
        "served": sorted(reader.served_models()),
        "used": sorted(reader.last_used_ms().items()),
        "labels": reader.label_names(whole),
        "closings": [reader.closed_statement(one.number) for one in reader.closings()],
    }


async def test_a_copy_says_what_its_source_says_and_goes_on(
    source: BookUnderTest, target: PostgresBook
) -> None:
    await fill(source)
    anchor = msgspec.json.encode(source.reader().anchor()).decode()
    told: list[str] = []
    copied = copy(
        source.url, source.directory, target.url, KEY, lambda what, _rows: told.append(what)
    )
    assert (copied.rows["records"], copied.last_seq, copied.requests) == (21, 21, 20)
    assert copied.charges == {"USD": 36, "EUR": 6} and copied.seals_of_other_keys == 0
    assert all(copied.rows[table] for table in set(DUMPED) - _OF_ARCHIVES), copied
    assert answers(target) == answers(source)
    assert target.verified() == source.verified()
    target.agree()
    assert target.rows("SELECT * FROM months") == source.rows("SELECT * FROM months") != []
    assert target.reader().verify_step(ANCHOR, anchor, target.key_file).findings == []
    # A label whose value no text of PostgreSQL can be is grouped under the sign for it.
    labels = target.reader().usage(["label:cost_center"], None, None, UTC, sums=("requests",))
    assert {(row["label:cost_center"], row["currency"]) for row in labels} >= {("x\ufffdy", "USD")}
    assert told[-2:] == ["checking hashes", "checking sums"]
    # The next process goes on where the last one ended, and corrects what was copied.
    ledger = await target.open()
    assert [await ledger.position(writer) for writer in ("w0", "w7", "w9")] == [20, 40, 0]
    assert await ledger.salts() == {"look-up": b"salt"}
    assert [claim.message_id for claim in await ledger.unsent_notices(9)] == ["m"]
    again = make_record(13, started_at_ms=START_MS + DAY_MS, output_tokens=1, writer="w3")
    booked = await ledger.book(Batch("w0", numbered(again, make_record(95), after=20)))
    assert (booked.inserted, booked.adjustments) == (1, 1)
    await ledger.claim_notices([], 0)
    await ledger.book(Batch("w0", refusals=[Refusal(0, None, "x", 1)]))
    await ledger.aclose()
    target.agree()
    assert target.verified().problems == () and target.reader().head() == 23
    assert [one.count for one in target.reader().refusals(None, None)] == [4, 2]


async def test_archived_months_are_copied_and_the_next_one_is_archived_there(
    source: BookUnderTest, target: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_months.at_time(monkeypatch)
    old_months.two_months(source)
    await old_months.seal_all(source)
    await old_months.archived(source, old_months.order_of(source))
    before, archives = old_months.told(source), source.reader().archives()
    copied = copy(source.url, source.directory, target.url, KEY)
    assert all(copied.rows[table] for table in _OF_ARCHIVES) and copied.last_seq == 33
    assert old_months.told(target) == before and target.reader().archives() == archives
    assert not old_months.verified(target).findings
    late_ms = START_MS + 100 * DAY_MS
    target.batch(Batch("w5", numbered(make_record(700, started_at_ms=late_ms))))
    before = old_months.told(target)
    await old_months.archived(target, old_months.order_of(target, "2026-12"))
    assert old_months.told(target) == before and len(target.reader().archives()) == 2
    await old_months.rebuilt(target)
    assert old_months.told(target) == before and not old_months.verified(target).findings


async def test_an_archive_that_was_changed_is_not_copied(
    source: BookUnderTest, target: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_months.at_time(monkeypatch)
    old_months.two_months(source)
    await old_months.seal_all(source)
    await old_months.archived(source, old_months.order_of(source))
    source.rows("DROP TRIGGER archives_no_update")
    source.rows("UPDATE archives SET file = 'another'")
    with pytest.raises(LedgerError, match="archive of 2026-11: it was changed"):
        copy(source.url, source.directory, target.url, KEY)
    assert not any(target.rows(f"SELECT count(*) FROM {table}")[0][0] for table in DUMPED)


async def test_an_empty_ledger_is_copied_too(source: BookUnderTest, target: PostgresBook) -> None:
    copied = copy(source.url, source.directory, target.url, KEY)
    assert (copied.last_seq, copied.last_hash, copied.requests) == (0, None, 0)
    assert target.reader().head() == 0


def test_a_database_with_anything_in_it_is_refused(
    source: BookUnderTest, target: PostgresBook
) -> None:
    source.book(make_record(0))
    target.batch(Batch("w0", salts=[("look-up", b"salt")]))
    with pytest.raises(LedgerError, match=r"is not empty, it has rows in end_users"):
        copy(source.url, source.directory, target.url, KEY)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE records SET finish_reason = 'a' || char(0) WHERE seq = 2",
            r"a row of records cannot be stored in PostgreSQL, and changed it would not fit its h",
        ),
        (
            "UPDATE records SET output_tokens = 1 WHERE seq = 2",
            r"nothing was copied, as .*ledger\.db does not verify: .*record seq 2 .* changed since",
        ),
        ("UPDATE rollups SET requests = 99", "the sums of both ledgers differ: nothing was copied"),
        ("DELETE FROM heads", "does not verify"),
    ],
)
def test_what_is_not_whole_is_not_copied(
    source: BookUnderTest, target: PostgresBook, damage: str, said: str
) -> None:
    source.book(*(make_record(n) for n in range(3)))
    for trigger in ("records_no_update", "heads_no_delete"):
        source.rows(f"DROP TRIGGER {trigger}")
    source.rows(damage)
    with pytest.raises(LedgerError, match=said):
        copy(source.url, source.directory, target.url, KEY)
    assert not any(target.rows(f"SELECT count(*) FROM {table}")[0][0] for table in DUMPED)
    assert target.reader().head() == 0


async def test_a_ledger_that_a_process_uses_is_not_copied(
    source: BookUnderTest, target: PostgresBook
) -> None:
    running = await connect(source.url, source.directory)
    with pytest.raises(LedgerError, match="in use by process"):
        copy(source.url, source.directory, target.url, KEY)
    await running.aclose()
    assert connect_reader(target.url, target.directory).head() == 0


def test_the_apps_own_role_may_copy(source: BookUnderTest, target: PostgresBook) -> None:
    """It owns nothing, and makes no tables."""
    source.book(*(make_record(n) for n in range(3)))
    with contextlib.suppress(LedgerError):
        target.books.do("CREATE ROLE copying LOGIN")
    target.books.line.ask(lambda one: allow(one, "copying"))
    url = target.url.replace("owner@", "copying@")
    assert copy(source.url, source.directory, url, KEY).requests == 3


def test_sums_beyond_63_bits_come_along(source: BookUnderTest, target: PostgresBook) -> None:
    amounts = [2**56 - n for n in range(300)] + [-(2**56)] * 20
    source.book(
        *(make_record(n, charge_nano=amount, cost_nano=-amount, output_tokens=2**56, currency="VND")
          for n, amount in enumerate(amounts)),
        now_ms=START_MS + 90 * DAY_MS,
    )  # fmt: skip
    copied = copy(source.url, source.directory, target.url, KEY)
    assert copied.charges == {"VND": sum(amounts)}
    [row] = target.reader().usage((), None, None, UTC)
    assert (row["cost_nano"], row["output_tokens"]) == (-sum(amounts), 320 * 2**56)


async def test_sums_of_archived_months_beyond_63_bits_come_along(
    source: BookUnderTest, target: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In SQLite such a sum is in several rows of its group."""
    old_months.at_time(monkeypatch)
    large = {"charge_nano": 2**56, "cost_nano": -(2**56), "currency": "VND"}
    records = [make_record(n, **large) for n in range(300)]
    source.book(*records, make_record(900, started_at_ms=START_MS + 40 * DAY_MS))
    source.book(make_record(901, started_at_ms=START_MS + 60 * DAY_MS), now_ms=old_months.LATER_MS)
    await old_months.seal_all(source)
    await old_months.archived(source, old_months.order_of(source))
    [(rows,)] = source.rows("SELECT count(*) FROM archived_sums WHERE charge_nano > 0")
    assert rows > 1
    copy(source.url, source.directory, target.url, KEY)
    assert old_months.told(target) == old_months.told(source)
    await old_months.rebuilt(target)
    assert old_months.told(target) == old_months.told(source)
    assert not old_months.verified(target).findings
