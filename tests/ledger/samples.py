"""Records and ledgers to test with."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from proxy.core.managed import Audit, KeySecret, Managed, TenantKind
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.ledger.sqlite.booking import Booker
from proxy.ledger.sqlite.schema import migrate

KEY = bytes(range(32))
START_MS = 1_793_500_000_000  # an ordinary minute in 2026, not at a quarter hour
ALICE = Managed(
    kind=TenantKind.KEY,
    name="alice",
    says=msgspec.Raw(b'{"team":"research"}'),
    secrets=(KeySecret("ab" * 32, START_MS),),
    created_at_ms=START_MS,
    created_by="root",
)


def deed(action: str, **more: str) -> Audit:
    """What somebody did to the key alice."""
    return Audit(
        at_ms=START_MS,
        actor="root",
        origin="socket",
        action=action,
        kind="key",
        name="alice",
        **more,
    )


def make_id(n: int, ms: int = START_MS) -> str:
    """The n-th id: a UUIDv7 of that millisecond."""
    stamp = f"{ms:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{n:012x}"


def make_record(n: int = 0, **changes: Any) -> UsageRecord:
    """A completed exchange of 100 input and 20 output tokens; `n` makes it another one."""
    fields: dict[str, Any] = {
        "id": make_id(n),
        "writer": "w0",
        "started_at_ms": START_MS,
        "duration_ms": 1200,
        "first_byte_ms": 80,
        "key_id": "alice",
        "team": "research",
        "labels": {"cost_center": "4711"},
        "endpoint": "/v1/chat/completions",
        "dialect": "openai_chat",
        "upstream": "modelmax",
        "model_requested": "deepseek-v3.2",
        "model_served": "deepseek-v3.2",
        "status": 200,
        "outcome": Outcome.COMPLETED,
        "finish_reason": "stop",
        "input_tokens": 100,
        "output_tokens": 20,
        "input_source": Source.REPORTED,
        "output_source": Source.REPORTED,
        "source": Source.REPORTED,
        "usage_raw": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        "bytes_in": 900,
        "bytes_out": 700,
        "chunks": 1,
    }
    return UsageRecord(**(fields | changes))


def numbered(*records: UsageRecord, after: int = 0) -> list[tuple[int, UsageRecord]]:
    """The records as closes of a journal, with seqs from after + 1 on."""
    return list(enumerate(records, start=after + 1))


class OwnedConnection(sqlite3.Connection):
    """Closes itself with its last use, on any thread; Python 3.13 warns of one left open."""

    def __del__(self) -> None:
        self.close()


def open_book(path: Path) -> tuple[sqlite3.Connection, Booker]:
    """A book on a file, on this thread; not synced, since nothing pulls the plug here."""
    connection = sqlite3.connect(
        path, isolation_level=None, factory=OwnedConnection, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = OFF")
    migrate(connection, str(path))
    return connection, Booker(connection, KEY, lambda: START_MS + 5000)


def rows(connection: sqlite3.Connection, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    return connection.execute(query, parameters).fetchall()


def _name() -> st.SearchStrategy[str]:
    return st.sampled_from(["a", "b", "", "模型-1", 'it\'s "x"'])


def _count(largest: int = 10**6) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(0, largest)


def records(n: int) -> st.SearchStrategy[UsageRecord]:
    """The n-th of some random records, over few groups so that sums have several terms."""
    return st.builds(
        make_record,
        n=st.just(n),
        started_at_ms=st.integers(START_MS, START_MS + 3 * 86_400_000),
        kind=st.sampled_from(["usage", "usage", "usage", "adjustment"]),
        key_id=_name(),
        team=st.none() | _name(),
        labels=st.dictionaries(
            st.sampled_from(["cost_center", 'we"ird.name', "env"]), _name(), max_size=2
        ),
        tags=st.dictionaries(st.sampled_from(["feature", "env"]), _name(), max_size=2),
        end_user=st.none() | _name(),
        upstream=_name(),
        model_requested=st.none() | _name(),
        stream=st.booleans(),
        outcome=st.sampled_from(Outcome),
        source=st.sampled_from(Source),
        inconsistent=st.booleans(),
        input_tokens=_count(),
        cached_tokens=_count(),
        cache_write_tokens=_count(),
        cache_write_long_tokens=_count(),
        searches=_count(),
        output_tokens=_count(2**53),
        reasoning_tokens=_count(),
        cost_nano=st.none() | st.integers(-(2**56), 2**56),
        charge_nano=_count(2**56),
        currency=st.sampled_from([None, "USD", "CNY"]),
        usage_raw=st.none()
        | st.just({})
        | st.just({"total_tokens": 1, "details": {"b": 2, "a": 1.5}}),
    )
