"""The newest records first, each once over all pages, and others' never."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.dataplane.pages import recent
from proxy.dataplane.pages.recent import PAGE_MAX, recent_page
from proxy.tenants.ring import Tenant
from tests.ledger.ledgers import opened_sqlite
from tests.ledger.samples import make_id, make_record

RECORDS = 260
# One of three is alice's, of two teams; bob is of her first team; carol of another.
BOOKED = [
    make_record(n, key_id=("alice", "bob", "carol")[n % 3], team=("a", "a", "b")[n % 3])
    for n in range(RECORDS)
]


def pages(directory: Path, tenant: Tenant) -> list[list[str]]:
    with opened_sqlite(directory) as book:
        book.book(*BOOKED)
        found, before, more = [], None, True
        while more:
            page = recent_page(book.reader(), tenant, before)
            found.append([record.id for record in page.records])
            before = page.before
            more = before is not None
        return found


@pytest.mark.parametrize(
    ("tenant", "keys"),
    [
        (Tenant(key_id="alice", team="a"), {"alice"}),
        (Tenant(key_id="alice", team="a", lead=True), {"alice", "bob"}),
        (Tenant(key_id="carol", team="b", lead=True), {"carol"}),
        (Tenant(key_id="nobody"), set()),
        (Tenant(key_id="alice", team="b", lead=True), {"alice", "carol"}),
    ],
)
@pytest.mark.parametrize("page_max", [PAGE_MAX, 7, 1000])
def test_pages_join_without_a_gap_or_a_double(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tenant: Tenant,
    keys: set[str],
    page_max: int,
) -> None:
    monkeypatch.setattr(recent, "PAGE_MAX", page_max)
    found = pages(tmp_path, tenant)
    assert all(len(page) == page_max for page in found[:-1])
    whole = [id for page in found for id in page]
    assert whole == [record.id for record in reversed(BOOKED) if record.key_id in keys]


def test_an_empty_book_has_no_page(tmp_path: Path) -> None:
    with opened_sqlite(tmp_path) as book:
        page = recent_page(book.reader(), Tenant(key_id="alice"), None)
        assert (list(page.records), page.before) == ([], None)
        book.book(make_record(0))
        page = recent_page(book.reader(), Tenant(key_id="alice"), None)
        assert ([record.id for record in page.records], page.before) == ([make_id(0)], None)
