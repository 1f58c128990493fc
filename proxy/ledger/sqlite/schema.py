"""The SQLite schema: tables, the triggers that keep them append-only, and the migrations.

`PRAGMA user_version` holds the schema's version, `PRAGMA application_id` says that the file is a
ledger of ours. A migration is never edited after a release: a change is a new entry of
`MIGRATIONS`, and stored rows keep their values and hashes. A backslash at a line's end breaks the
line in this file and not in the migration.

Two rules hold the book append-only against every connection: UPDATE and DELETE are refused, and a
BEFORE INSERT trigger ignores a row whose id or seq is known. Without it `INSERT OR REPLACE` would
delete the old row and fire no DELETE trigger, unless the connection sets `recursive_triggers`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from proxy.ledger import LedgerError
from proxy.ledger.late_prices import Columns, counted, moved
from proxy.ledger.spans import BUCKET_MS, FOUR_HOURS_MS
from proxy.ledger.sqlite.archive import ARCHIVES
from proxy.ledger.sqlite.booking import SERVED_MODELS
from proxy.ledger.sqlite.carried import CARRIED, CARRIED_SINCE
from proxy.ledger.sqlite.closings import STATEMENTS
from proxy.ledger.sqlite.credits import CREDIT_LINKS
from proxy.ledger.sqlite.months import MONTHS
from proxy.ledger.sqlite.notices import NOTICES
from proxy.ledger.sqlite.past_sums import (
    folded,
    folded_on,
    moved_into_rollups,
    on_known_group,
    summed,
)
from proxy.ledger.sqlite.rebuild import rebuild_if_due
from proxy.ledger.sqlite.refusals import ANSWERABLE
from proxy.ledger.sqlite.sums import (
    FIRST_SUMS,
    GROUPS,
    KEYLESS,
    MORE_SUMS,
    SUMS,
    WIDE,
    named,
    same_group,
    wide,
)
from proxy.ledger.sqlite.tenants import TENANTS

APPLICATION_ID = 0x54_4F_4C_4C  # "TOLL"
SQLITE_MIN = (3, 37, 0)  # STRICT tables

_RECORDS = """
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    writer TEXT NOT NULL,
    origin TEXT NOT NULL,
    kind TEXT NOT NULL,
    adjusts TEXT,
    reason TEXT,
    started_at_ms INTEGER NOT NULL,
    booked_at_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    first_byte_ms INTEGER,
    key_id TEXT NOT NULL,
    team TEXT,
    labels TEXT NOT NULL,
    end_user TEXT,
    tags TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    dialect TEXT,
    upstream TEXT NOT NULL,
    upstream_account TEXT,
    model_requested TEXT,
    model_served TEXT,
    stream INTEGER NOT NULL,
    status INTEGER,
    outcome TEXT NOT NULL,
    finish_reason TEXT,
    upstream_request_id TEXT,
    client_retry_count INTEGER NOT NULL,
    input_tokens INTEGER,
    cached_tokens INTEGER,
    cache_write_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    audio_input_tokens INTEGER,
    audio_output_tokens INTEGER,
    input_source TEXT NOT NULL,
    output_source TEXT NOT NULL,
    source TEXT NOT NULL,
    inconsistent INTEGER NOT NULL,
    usage_raw TEXT,
    service_tier TEXT,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER,
    chunks INTEGER,
    cost_nano INTEGER,
    charge_nano INTEGER,
    currency TEXT,
    price_version TEXT,
    price_model TEXT,
    price_currency TEXT,
    cost_original_nano INTEGER,
    fx_rate TEXT,
    upstream_cost_nano INTEGER,
    hash_version INTEGER NOT NULL,
    prev_hash BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX records_started_at ON records (started_at_ms);
CREATE INDEX records_adjusts ON records (adjusts) WHERE adjusts IS NOT NULL;
CREATE TRIGGER records_known BEFORE INSERT ON records
    WHEN EXISTS (SELECT 1 FROM records WHERE seq = NEW.seq) \
OR EXISTS (SELECT 1 FROM records WHERE id = NEW.id)
    BEGIN SELECT RAISE(IGNORE); END;
"""

# A roll-up's names may be null, which a primary key cannot hold as one value: 0 stands for null in
# the unique index, and no text equals it.
_AROUND = """
CREATE TABLE rollups (
    bucket_ms INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    team TEXT,
    model_requested TEXT,
    upstream TEXT NOT NULL,
    currency TEXT,
    requests INTEGER NOT NULL,
    input_tokens INTEGER,
    cached_tokens INTEGER,
    cache_write_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    cost_nano INTEGER,
    charge_nano INTEGER,
    reported_requests INTEGER NOT NULL,
    unpriced_requests INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX rollups_group ON rollups
    (bucket_ms, key_id, ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0));
CREATE TABLE heads (
    seq INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    booked_at_ms INTEGER NOT NULL,
    key_name TEXT NOT NULL,
    seal BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    pruned_at_ms INTEGER NOT NULL,
    key_name TEXT NOT NULL,
    seal BLOB NOT NULL
) STRICT;
CREATE TABLE grants (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    granted_at_ms INTEGER NOT NULL,
    limit_id TEXT NOT NULL,
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL,
    valid_until_ms INTEGER,
    reason TEXT,
    granted_by TEXT
) STRICT;
CREATE TABLE refusals (
    bucket_ms INTEGER NOT NULL,
    key_id TEXT,
    code TEXT NOT NULL,
    count INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX refusals_group ON refusals (bucket_ms, ifnull(key_id, 0), code);
CREATE TABLE journal_positions (writer TEXT PRIMARY KEY, seq INTEGER NOT NULL) \
STRICT, WITHOUT ROWID;
CREATE TABLE end_users (lookup TEXT PRIMARY KEY, salt BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER grants_known BEFORE INSERT ON grants
    WHEN EXISTS (SELECT 1 FROM grants WHERE seq = NEW.seq) \
OR EXISTS (SELECT 1 FROM grants WHERE id = NEW.id)
    BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER heads_known BEFORE INSERT ON heads
    WHEN EXISTS (SELECT 1 FROM heads WHERE seq = NEW.seq) BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER checkpoints_known BEFORE INSERT ON checkpoints
    WHEN EXISTS (SELECT 1 FROM checkpoints WHERE seq = NEW.seq) BEGIN SELECT RAISE(IGNORE); END;
"""

# The price terms that amounts were made with, under the version that records pin. So an amount can
# be explained and worked out again for as long as the book is kept. The table is without a rowid:
# that would be a second key for INSERT OR REPLACE.
_PRICE_VERSIONS = """
CREATE TABLE price_versions \
(version TEXT PRIMARY KEY, stored_at_ms INTEGER NOT NULL, terms BLOB NOT NULL) \
STRICT, WITHOUT ROWID;
CREATE TRIGGER price_versions_known BEFORE INSERT ON price_versions
    WHEN EXISTS (SELECT 1 FROM price_versions WHERE version = NEW.version) \
BEGIN SELECT RAISE(IGNORE); END;
"""

_FOLDED = (
    f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(name for name, _ in FIRST_SUMS)} "
    "FROM rollups WHERE bucket_ms < (SELECT folded_until_ms FROM fold)"
)
_WIDE = ";\n".join(
    (
        "CREATE TABLE rollup_groups "
        "(id INTEGER PRIMARY KEY, key_id TEXT NOT NULL, team TEXT, model_requested TEXT, upstream "
        "TEXT NOT NULL, currency TEXT) STRICT",
        "CREATE UNIQUE INDEX rollup_groups_names ON rollup_groups (key_id, ifnull(team, 0), "
        "ifnull(model_requested, 0), upstream, ifnull(currency, 0))",
        *(
            f"CREATE TABLE {table} (group_id INTEGER NOT NULL, bucket_ms INTEGER NOT NULL, "
            f"{', '.join(f'{name} INTEGER' for name in wide(FIRST_SUMS))}, "
            "PRIMARY KEY (group_id, bucket_ms)) STRICT, WITHOUT ROWID"
            for table, _ in WIDE
        ),
        "CREATE TABLE fold (only INTEGER PRIMARY KEY CHECK (only = 1), folded_until_ms INTEGER "
        "NOT NULL) STRICT",
        f"INSERT INTO fold SELECT 1, coalesce(max(bucket_ms) - max(bucket_ms) % {FOUR_HOURS_MS}, "
        "0) FROM rollups",
        named(_FOLDED),
        folded(*WIDE[0], _FOLDED, FIRST_SUMS),
        *(folded_on(table, span, "1", FIRST_SUMS) for table, span in WIDE[1:]),
        "",
    )
)

# What late prices had moved before roll-ups took account of it.
_MOVES = moved(
    Columns(["records.started_at_ms AS at"], GROUPS, FIRST_SUMS),
    "{row}.seq > 0",
)
_MOVES_FOLDED = f"SELECT * FROM ({_MOVES}) WHERE at < (SELECT folded_until_ms FROM fold)"


_MOVE = ";\n".join(
    (
        moved_into_rollups("{row}.seq > 0", FIRST_SUMS),
        named(_MOVES_FOLDED),
        *(folded(table, span, _MOVES_FOLDED, FIRST_SUMS) for table, span in WIDE),
        "",
    )
)

# `usage` counts the records whose numbers are in doubt; they are few.
_FLAGGED = "CREATE INDEX records_inconsistent ON records (started_at_ms) WHERE inconsistent = 1;\n"

# Cache writes kept for an hour or longer, and searches; null in older rows.
_LONG_WRITES = """
ALTER TABLE records ADD COLUMN cache_write_long_tokens INTEGER;
ALTER TABLE records ADD COLUMN searches INTEGER;
"""

# The same two in the roll-ups. The rows that have them are summed once more; each has its group and
# its spans already, so that nothing else is added.
_MORE = counted(
    Columns(["started_at_ms AS at"], GROUPS, MORE_SUMS),
    "{row}.seq > 0",
)
_MORE_NAMES = ", ".join(name for name, _ in MORE_SUMS)
_MORE_KNOWN = " OR ".join(f"{name} IS NOT NULL" for name, _ in MORE_SUMS)
_MORE_FOLDED = "SELECT * FROM temp.more WHERE at < (SELECT folded_until_ms FROM fold)"
_MORE_IN_ROLLUPS = ";\n".join(
    (
        *(
            f"ALTER TABLE {table} ADD COLUMN {name} INTEGER"
            for table in ("rollups", *(table for table, _ in WIDE))
            for name, _ in MORE_SUMS
        ),
        f"CREATE TEMP TABLE more AS SELECT * FROM ({_MORE}) WHERE {_MORE_KNOWN}",
        "INSERT INTO rollups (bucket_ms, requests, reported_requests, unpriced_requests, "
        f"{', '.join(GROUPS)}, {_MORE_NAMES}) "
        f"SELECT at - at % {BUCKET_MS}, 0, 0, 0, {', '.join(GROUPS)}, "
        f"{', '.join(f'sum({name})' for name, _ in MORE_SUMS)} "
        f"FROM temp.more WHERE 1 GROUP BY 1, 5, 6, 7, 8, 9 {on_known_group(MORE_SUMS)}",
        named(_MORE_FOLDED),
        *(folded(table, span, _MORE_FOLDED, MORE_SUMS) for table, span in WIDE),
        "DROP TABLE temp.more",
        "",
    )
)

# Wide spans without keys, summed from those with keys.
_KEYLESS = ";\n".join(
    (
        "CREATE TABLE rollup_teams (id INTEGER PRIMARY KEY, team TEXT, model_requested TEXT, "
        "upstream TEXT NOT NULL, currency TEXT) STRICT",
        "CREATE UNIQUE INDEX rollup_teams_names ON rollup_teams "
        "(ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0))",
        named("SELECT * FROM rollup_groups", KEYLESS),
        *(
            f"CREATE TABLE {table} (group_id INTEGER NOT NULL, bucket_ms INTEGER NOT NULL, "
            f"{', '.join(f'{name} INTEGER' for name in wide(SUMS))}, "
            "PRIMARY KEY (group_id, bucket_ms)) STRICT, WITHOUT ROWID;\n"
            f"INSERT INTO {table} SELECT t.id, bucket_ms, "
            f"{', '.join(map(summed, wide(SUMS)))} FROM rollup_groups AS g "
            f"CROSS JOIN {keyed} ON group_id = g.id JOIN rollup_teams AS t "
            f"ON {same_group('t', 'g', KEYLESS)} GROUP BY 1, 2"
            for (table, _), (keyed, _) in zip(KEYLESS.wide, WIDE, strict=True)
        ),
        "",
    )
)

_APPEND_ONLY_1 = ("records", "heads", "checkpoints", "grants")
APPEND_ONLY: tuple[str, ...] = (
    *_APPEND_ONLY_1,
    "price_versions",
    "audit",
    "credit_links",
    "months",
    "statements",
    "archives",
    "archived_sums",
)


def _refusing(table: str) -> str:
    return "".join(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
        f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: corrections are new rows'); END;\n"
        for verb in ("UPDATE", "DELETE")
    )


MIGRATIONS: tuple[str, ...] = (
    _RECORDS + _AROUND + "".join(map(_refusing, _APPEND_ONLY_1)),
    _PRICE_VERSIONS + _refusing("price_versions"),
    _WIDE,
    _MOVE,
    _FLAGGED,
    SERVED_MODELS,
    _LONG_WRITES,
    _MORE_IN_ROLLUPS,
    TENANTS + _refusing("audit"),
    NOTICES,
    ANSWERABLE,
    CREDIT_LINKS + _refusing("credit_links"),
    MONTHS + _refusing("months"),
    STATEMENTS + _refusing("statements"),
    _KEYLESS,
    ARCHIVES + _refusing("archives") + _refusing("archived_sums"),
    CARRIED,
)
SCHEMA_VERSION = len(MIGRATIONS)


def check_library() -> None:
    """Raise LedgerError when Python's SQLite is too old for the schema."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        raise LedgerError(
            f"SQLite {sqlite3.sqlite_version} is too old for the ledger: run a Python whose "
            f"sqlite3 module has SQLite {wanted} or newer"
        )


def schema_version(connection: sqlite3.Connection, name: str, newest: int = SCHEMA_VERSION) -> int:
    """The database's schema version, 0 when it is empty.

    Raises LedgerError when the file is not a ledger, or is from a newer version of this program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise LedgerError(
            f"{name} is an SQLite database, but not a ledger of this program: name another file "
            "in ledger.url"
        )
    if version > newest:
        raise LedgerError(
            f"{name} has schema version {version}, and this version of the program knows up to "
            f"{newest}: "
            "run the newer version that made it, or restore a backup made before the upgrade"
        )
    return int(version)


def migrate(
    connection: sqlite3.Connection, name: str, migrations: Sequence[str] = MIGRATIONS
) -> None:
    """Bring the database to the present schema, each version in a transaction of its own."""
    for version in range(
        schema_version(connection, name, len(migrations)) + 1, len(migrations) + 1
    ):
        script = (
            f"BEGIN IMMEDIATE;\n{migrations[version - 1]}\nPRAGMA application_id = "
            f"{APPLICATION_ID};\nPRAGMA user_version = {version};\nCOMMIT;"
        )
        try:
            connection.executescript(script)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    if len(migrations) >= CARRIED_SINCE:
        rebuild_if_due(connection)
