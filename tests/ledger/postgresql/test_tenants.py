"""Each change of keys and teams has a version, its audit, and a word to the other processes."""

from __future__ import annotations

import threading

import psycopg
import pytest

from proxy.core.managed import Audit, Managed, State, TenantChange, TenantKind
from proxy.ledger import LedgerOutdated
from proxy.ledger.audit_chain import COLUMNS, problems
from proxy.ledger.postgresql import _ORDERS
from proxy.ledger.postgresql.tenants import CHANNEL, change, is_written, tenants
from tests.ledger.postgresql.books import Books, books
from tests.ledger.samples import KEY

pytestmark = pytest.mark.whole  # a server of its own


def order(name: str, state: State = State.ACTIVE) -> TenantChange:
    row = Managed(kind=TenantKind.KEY, name=name, state=state)
    deed = Audit(at_ms=1, actor="ops", origin="socket", action="create", kind="key", name=name)
    return TenantChange((row,), (deed,))


def put(book: Books, what: TenantChange) -> bytes | None:
    return book.line.transaction(lambda one: change(one, KEY, what), begin=_ORDERS)


def audit(book: Books) -> list[str]:
    return list(problems(book.rows(f"SELECT {', '.join(COLUMNS)} FROM audit ORDER BY seq"), KEY))


def test_each_change_takes_the_next_version_and_stamps_its_rows() -> None:
    with books() as book:
        put(book, order("alice"))
        put(book, order("bob"))
        put(book, order("alice", State.SUSPENDED))
        assert book.rows("SELECT name, version FROM tenants ORDER BY 1") == [
            ("alice", 3),
            ("bob", 2),
        ]
        found = book.line.ask(tenants)
        assert [(one.name, one.state) for one in found] == [
            ("alice", State.SUSPENDED),
            ("bob", State.ACTIVE),
        ]
        assert audit(book) == []


def test_other_processes_hear_of_it() -> None:
    with books() as book:
        book.rows("SELECT 1")
        with psycopg.connect(book.url, autocommit=True) as listener:
            listener.execute(f"LISTEN {CHANNEL}")
            put(book, order("alice"))
            [told] = listener.notifies(stop_after=1)
            assert told.payload == "1"


def test_two_administrators_at_once_leave_one_chain() -> None:
    with books() as book:
        book.rows("SELECT 1")

        def administer(number: int) -> None:
            with books(book.url) as mine:
                for n in range(10):
                    put(mine, order(f"k{number}-{n}"))

        threads = [threading.Thread(target=administer, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert book.rows("SELECT count(DISTINCT version), max(version) FROM tenants") == [(40, 40)]
        assert audit(book) == []


def test_what_was_written_is_known_by_its_hash() -> None:
    with books() as book:
        written = put(book, order("alice"))
        assert written is not None
        assert book.line.ask(lambda one: is_written(one, written))
        assert not book.line.ask(lambda one: is_written(one, bytes(32)))
        assert put(book, TenantChange((), ())) is None


def test_text_that_postgresql_refuses_is_audited_as_it_is_stored() -> None:
    with books() as book:
        deed = Audit(
            at_ms=1, actor="a\0", origin="o", action="x", kind="key", name="n", reason="\0"
        )
        put(book, TenantChange((), (deed,)))
        assert book.rows("SELECT actor, reason FROM audit") == [("a\ufffd", "\ufffd")]
        assert audit(book) == []


def test_a_change_made_from_an_older_version_is_not_written() -> None:
    with books() as book:
        put(book, order("alice"))
        with pytest.raises(LedgerOutdated):
            book.line.transaction(lambda one: change(one, KEY, order("bob"), 0), begin=_ORDERS)
        book.line.transaction(lambda one: change(one, KEY, order("bob"), 1), begin=_ORDERS)
        assert book.rows("SELECT name, version FROM tenants ORDER BY 1") == [
            ("alice", 1),
            ("bob", 2),
        ]
        assert audit(book) == []
