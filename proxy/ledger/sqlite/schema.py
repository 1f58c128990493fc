"""The SQLite schema: tables, the triggers that keep them append-only, and the migrations that lead
to the present version.

`PRAGMA user_version` holds the schema's version, `PRAGMA application_id` says that the file is a
ledger of ours. A migration is never edited after a release:
a change is a new entry of `MIGRATIONS`, and stored rows keep their values and hashes.

Two rules hold the book append-only against every connection: UPDATE and DELETE are refused, and a
BEFORE INSERT trigger ignores a row whose id or seq is known
(without it `INSERT OR REPLACE` would delete the old row without firing a DELETE trigger, unless the
connection happens to set `recursive_triggers`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from proxy.ledger import LedgerError
from proxy.ledger.sqlite.late_prices import moved

APPLICATION_ID = 0x54_4F_4C_4C  # "TOLL"
SQLITE_MIN = (3, 37, 0)  # STRICT tables
BUCKET_MS = (
    15 * 60 * 1000
)  # every time zone in use starts its days and hours on a quarter hour of UTC

# The sums of a roll-up: a null is "nothing known", as in the record. The expressions read one row
# of records each; `measures` below sums them.
SUMS: tuple[tuple[str, str], ...] = (
    ("requests", "(kind = 'usage')"),
    ("input_tokens", "input_tokens"),
    ("cached_tokens", "cached_tokens"),
    ("cache_write_tokens", "cache_write_tokens"),
    ("output_tokens", "output_tokens"),
    ("reasoning_tokens", "reasoning_tokens"),
    ("cost_nano", "cost_nano"),
    ("charge_nano", "charge_nano"),
    ("reported_requests", "(kind = 'usage' AND source = 'reported')"),
    ("unpriced_requests", "(kind = 'usage' AND cost_nano IS NULL)"),
)
GROUPS: tuple[str, ...] = ("key_id", "team", "model_requested", "upstream", "currency")

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
    WHEN EXISTS (SELECT 1 FROM records WHERE seq = NEW.seq) OR EXISTS (SELECT 1 FROM records WHERE id = NEW.id)
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
CREATE TABLE journal_positions (writer TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE end_users (lookup TEXT PRIMARY KEY, salt BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER grants_known BEFORE INSERT ON grants
    WHEN EXISTS (SELECT 1 FROM grants WHERE seq = NEW.seq) OR EXISTS (SELECT 1 FROM grants WHERE id = NEW.id)
    BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER heads_known BEFORE INSERT ON heads
    WHEN EXISTS (SELECT 1 FROM heads WHERE seq = NEW.seq) BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER checkpoints_known BEFORE INSERT ON checkpoints
    WHEN EXISTS (SELECT 1 FROM checkpoints WHERE seq = NEW.seq) BEGIN SELECT RAISE(IGNORE); END;
"""

# What amounts were made with besides tokens, under the version that records pin: an amount can be
# explained and made anew for as long as the book is kept.
# Without a rowid, which would be a second key that INSERT OR REPLACE could go by.
_PRICE_VERSIONS = """
CREATE TABLE price_versions (version TEXT PRIMARY KEY, stored_at_ms INTEGER NOT NULL, terms BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER price_versions_known BEFORE INSERT ON price_versions
    WHEN EXISTS (SELECT 1 FROM price_versions WHERE version = NEW.version) BEGIN SELECT RAISE(IGNORE); END;
"""

# Roll-ups of wider spans, which a range of months is summed from: a year has 35,000 quarter hours.
# They hold what started before `folded_until_ms` (see
# `wide`). Names stand apart, under a number, and a group's spans stand together, so that summing
# them needs no sorting. Money comes in two halves of 32 bits:
# a month of a small company's dong is beyond 63 bits.
FOUR_HOURS_MS = 4 * 60 * 60 * 1000
HALF = 2**32
WIDE: tuple[
    tuple[str, str], ...
] = (  # table, and the start of the span that a moment lies in; the narrowest first
    ("rollups_4h", f"{{at}} - {{at}} % {FOUR_HOURS_MS}"),
    ("rollups_daily", "{at} - {at} % 86400000"),
    # Of the calendar in UTC; clamped to what SQLite's calendar knows, beyond which a span would be
    # null.
    (
        "rollups_monthly",
        "strftime('%s', max(0, min({at}, 253402300799999)) / 1000, 'unixepoch', 'start of month') * 1000",
    ),
)
MONEY = ("cost_nano", "charge_nano")
WIDE_SUMS: tuple[str, ...] = tuple(
    column
    for name, _ in SUMS
    for column in ((f"{name}_high", f"{name}_low") if name in MONEY else (name,))
)
_SUM_MAX = 2**63 - 1


def added(name: str) -> str:
    """How an upsert adds to a sum. null + 5 is 5, null + null is null."""
    # Past 63 bits SQLite's + turns into a float, which a STRICT table refuses for ever: the sum
    # stays at the bound instead.
    return f"{name} = coalesce(max(-{_SUM_MAX}, min({_SUM_MAX}, {name} + excluded.{name})), {name}, excluded.{name})"


def _summed(name: str) -> str:
    """The same for any number of rows, of which `sum` alone would refuse to go past 63 bits."""
    return (
        f"max(-{_SUM_MAX}, min({_SUM_MAX}, sum({name} / {HALF}) * {HALF} + sum({name} % {HALF})))"
    )


def named(source: str) -> str:
    """Gives each group in `source` its number."""
    return f"INSERT INTO rollup_groups ({', '.join(GROUPS)}) SELECT DISTINCT {', '.join(GROUPS)} FROM ({source}) WHERE 1 ON CONFLICT DO NOTHING"


def folded(table: str, span: str, source: str) -> str:
    """Adds the rows of `source` to a wide table: `at`, the groups and the sums of a quarter hour's
    roll-up. The groups have their numbers."""
    same = " AND ".join(
        f"g.{name} = s.{name}"
        if name in _NEVER_NULL
        else f"ifnull(g.{name}, 0) = ifnull(s.{name}, 0)"
        for name in GROUPS
    )
    sums = [
        sum
        for name, _ in SUMS
        for sum in (
            [f"sum({name} / {HALF})", f"sum({name} % {HALF})"] if name in MONEY else [_summed(name)]
        )
    ]
    return _upsert(table, span, sums, f"({source}) AS s JOIN rollup_groups AS g ON {same}")


def folded_on(table: str, span: str, where: str) -> str:
    """Adds spans of the narrowest wide table, those where `where` holds of its `at`, to a wider
    one."""
    narrowest = f"(SELECT group_id, bucket_ms AS at, {', '.join(WIDE_SUMS)} FROM {WIDE[0][0]})"
    return _upsert(
        table,
        span,
        list(map(_summed, WIDE_SUMS)),
        f"rollup_groups AS g CROSS JOIN {narrowest} AS s ON s.group_id = g.id AND {where}",
    )


def _upsert(table: str, span: str, sums: Sequence[str], source: str) -> str:
    return f"""
INSERT INTO {table} (group_id, bucket_ms, {", ".join(WIDE_SUMS)})
SELECT g.id, {span.format(at="s.at")}, {", ".join(sums)}
FROM {source} GROUP BY 1, 2
ON CONFLICT (group_id, bucket_ms) DO UPDATE SET {", ".join(map(added, WIDE_SUMS))}"""


_NEVER_NULL = ("key_id", "upstream")
_FOLDED = f"SELECT bucket_ms AS at, {', '.join(GROUPS)}, {', '.join(name for name, _ in SUMS)} FROM rollups WHERE bucket_ms < (SELECT folded_until_ms FROM fold)"
_WIDE = ";\n".join(
    (
        "CREATE TABLE rollup_groups "
        "(id INTEGER PRIMARY KEY, key_id TEXT NOT NULL, team TEXT, model_requested TEXT, upstream TEXT NOT NULL, currency TEXT) STRICT",
        "CREATE UNIQUE INDEX rollup_groups_names ON rollup_groups (key_id, ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0))",
        *(
            f"CREATE TABLE {table} (group_id INTEGER NOT NULL, bucket_ms INTEGER NOT NULL, {', '.join(f'{name} INTEGER' for name in WIDE_SUMS)}, "
            "PRIMARY KEY (group_id, bucket_ms)) STRICT, WITHOUT ROWID"
            for table, _ in WIDE
        ),
        "CREATE TABLE fold (only INTEGER PRIMARY KEY CHECK (only = 1), folded_until_ms INTEGER NOT NULL) STRICT",
        f"INSERT INTO fold SELECT 1, coalesce(max(bucket_ms) - max(bucket_ms) % {FOUR_HOURS_MS}, 0) FROM rollups",
        named(_FOLDED),
        folded(*WIDE[0], _FOLDED),
        *(folded_on(table, span, "1") for table, span in WIDE[1:]),
        "",
    )
)

# What late prices moved before roll-ups knew of it.
_MOVES = moved(
    ["records.started_at_ms AS at"],
    GROUPS,
    SUMS,
    lambda name, expression: f"{expression} AS {name}",
    "{row}.seq > 0",
)
_MOVES_FOLDED = f"SELECT * FROM ({_MOVES}) WHERE at < (SELECT folded_until_ms FROM fold)"


def moved_into_rollups(where: str) -> str:
    """Adds to the quarter hours what the prices moved that `where` chooses; see
    `proxy.ledger.sqlite.late_prices`."""
    bucket = f"started_at_ms - started_at_ms % {BUCKET_MS} AS bucket_ms"
    rows = moved([bucket], GROUPS, SUMS, lambda name, expression: f"{expression} AS {name}", where)
    sums = ", ".join(f"sum({name})" for name, _ in SUMS)
    return f"""
INSERT INTO rollups (bucket_ms, {", ".join(GROUPS)}, {", ".join(name for name, _ in SUMS)})
SELECT bucket_ms, {", ".join(GROUPS)}, {sums} FROM ({rows}) GROUP BY 1, 2, 3, 4, 5, 6 {ON_KNOWN_GROUP}"""


# How an upsert adds to the quarter hours.
ON_KNOWN_GROUP = f"""
ON CONFLICT (bucket_ms, key_id, ifnull(team, 0), ifnull(model_requested, 0), upstream, ifnull(currency, 0)) DO UPDATE SET
{", ".join(added(name) for name, _ in SUMS)}"""
_MOVE = ";\n".join(
    (
        moved_into_rollups("{row}.seq > 0"),
        named(_MOVES_FOLDED),
        *(folded(table, span, _MOVES_FOLDED) for table, span in WIDE),
        "",
    )
)

# Records whose numbers are in doubt are counted for `usage`; of millions they are few.
_FLAGGED = "CREATE INDEX records_inconsistent ON records (started_at_ms) WHERE inconsistent = 1;\n"

# Which models each upstream has served for which names: a strict limit on money goes by the
# dearest.
_SERVED = """
CREATE TABLE served_models (
    upstream TEXT NOT NULL,
    model_requested TEXT NOT NULL,
    model_served TEXT NOT NULL,
    PRIMARY KEY (upstream, model_requested, model_served)
) STRICT, WITHOUT ROWID;
INSERT INTO served_models
SELECT DISTINCT upstream, model_requested, model_served FROM records
WHERE model_requested IS NOT NULL AND model_served IS NOT NULL;
"""

_APPEND_ONLY_1 = ("records", "heads", "checkpoints", "grants")
APPEND_ONLY: tuple[str, ...] = (*_APPEND_ONLY_1, "price_versions")


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
    _SERVED,
)
SCHEMA_VERSION = len(MIGRATIONS)


def measures(alias: str = "") -> str:
    """The select list that sums records into a roll-up's columns. With no record known to have a
    number the sum is null."""
    return ", ".join(f"sum({expression}) AS {alias}{name}" for name, expression in SUMS)


def check_library() -> None:
    """Raises LedgerError when Python's SQLite is too old for the schema."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        raise LedgerError(
            f"SQLite {sqlite3.sqlite_version} is too old for the ledger: run a Python whose sqlite3 module has SQLite {wanted} or newer"
        )


def schema_version(connection: sqlite3.Connection, name: str, newest: int = SCHEMA_VERSION) -> int:
    """The database's schema version, 0 when it is empty. Raises LedgerError when the file is not a
    ledger or is from a newer version of this program."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise LedgerError(
            f"{name} is an SQLite database, but not a ledger of this program: name another file in ledger.url"
        )
    if version > newest:
        raise LedgerError(
            f"{name} has schema version {version}, and this version of the program knows up to {newest}: "
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
        script = f"BEGIN IMMEDIATE;\n{migrations[version - 1]}\nPRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version};\nCOMMIT;"
        try:
            connection.executescript(script)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
