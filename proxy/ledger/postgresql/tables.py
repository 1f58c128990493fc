"""The tables of a ledger in PostgreSQL, as migrations: each version once written stays as it is.

Texts sort by their bytes (`COLLATE "C"`), as in SQLite. An id is a text: it is hashed as it is
written, and UUIDv7s sort by their time as texts too, so months are ranges of ids. Sums are
`numeric`: no sum of any number of records is beyond it.

A record has its place in the chain of one writer (`chain`, `chain_seq`), which is what its hash
holds. `head_seq` is the `chain_seq` of the last row of its batch. The batch's place in the whole
book is known only at the end of the transaction and stands in `heads`; the view `book` has each
record with its `seq`.

An index takes no row of more than 2,700 bytes, and the names of limits and subjects have any
length. So such rows are found by a digest (`proxy.ledger.postgresql.digests`).
"""

from __future__ import annotations

from typing import Final

from proxy.ledger.postgresql.archive import ARCHIVES
from proxy.ledger.postgresql.guards import APPEND_ONLY as APPEND_ONLY
from proxy.ledger.postgresql.guards import GUARD, append_only

_TEXT = 'text COLLATE "C"'
_RECORDS = f"""
CREATE TABLE records (
    id {_TEXT} NOT NULL PRIMARY KEY,
    chain {_TEXT} NOT NULL,
    chain_seq bigint NOT NULL,
    head_seq bigint NOT NULL,
    writer {_TEXT} NOT NULL,
    origin {_TEXT} NOT NULL,
    kind {_TEXT} NOT NULL,
    adjusts {_TEXT},
    reason {_TEXT},
    started_at_ms bigint NOT NULL,
    booked_at_ms bigint NOT NULL,
    duration_ms bigint NOT NULL,
    first_byte_ms bigint,
    key_id {_TEXT} NOT NULL,
    team {_TEXT},
    labels {_TEXT} NOT NULL,
    end_user {_TEXT},
    tags {_TEXT} NOT NULL,
    endpoint {_TEXT} NOT NULL,
    dialect {_TEXT},
    upstream {_TEXT} NOT NULL,
    upstream_account {_TEXT},
    model_requested {_TEXT},
    model_served {_TEXT},
    stream smallint NOT NULL,
    status bigint,
    outcome {_TEXT} NOT NULL,
    finish_reason {_TEXT},
    upstream_request_id {_TEXT},
    client_retry_count bigint NOT NULL,
    input_tokens bigint,
    cached_tokens bigint,
    cache_write_tokens bigint,
    cache_write_long_tokens bigint,
    output_tokens bigint,
    reasoning_tokens bigint,
    audio_input_tokens bigint,
    audio_output_tokens bigint,
    searches bigint,
    input_source {_TEXT} NOT NULL,
    output_source {_TEXT} NOT NULL,
    source {_TEXT} NOT NULL,
    inconsistent smallint NOT NULL,
    usage_raw {_TEXT},
    service_tier {_TEXT},
    bytes_in bigint NOT NULL,
    bytes_out bigint,
    chunks bigint,
    cost_nano bigint,
    charge_nano bigint,
    currency {_TEXT},
    price_version {_TEXT},
    price_model {_TEXT},
    price_currency {_TEXT},
    cost_original_nano bigint,
    fx_rate {_TEXT},
    upstream_cost_nano bigint,
    hash_version smallint NOT NULL,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL
) PARTITION BY RANGE (id);
CREATE INDEX records_chain ON records (chain, chain_seq);
CREATE INDEX records_started_at ON records (started_at_ms);
CREATE INDEX records_adjusts ON records (adjusts) WHERE adjusts IS NOT NULL;
CREATE INDEX records_inconsistent ON records (started_at_ms) WHERE inconsistent = 1;
CREATE TABLE records_default PARTITION OF records DEFAULT;
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON records_default
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE records_default ENABLE ALWAYS TRIGGER never_emptied;
"""

# Adds the partition of the month that a day lies in; false if it is there, or if rows of it are in
# records_default already. It runs with its owner's rights, so that who may only insert can ask for
# it; a month far ahead or long ago is refused.
_MONTHS = """
CREATE FUNCTION uuid_bound(at timestamp) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT left(x, 8) || '-' || right(x, 4)
    FROM (SELECT lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')) AS t (x)
$$;
CREATE FUNCTION add_month(day date) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
DECLARE
    first timestamp := date_trunc('month', day::timestamp);
    part text := 'records_' || to_char(first, 'YYYY_MM');
BEGIN
    IF day < '2020-01-01' OR day > current_date + 100 THEN
        RAISE EXCEPTION 'no month is added so far from today: %', day;
    END IF;
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE records)', part);
    EXECUTE format(
        'ALTER TABLE records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        part, uuid_bound(first), uuid_bound(first + interval '1 month'));
    EXECUTE format(
        'CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I '
        'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', part);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER never_emptied', part);
    RETURN true;
EXCEPTION WHEN check_violation THEN
    RETURN false;
END $$;
REVOKE ALL ON FUNCTION add_month(date) FROM PUBLIC;
"""

_CHAINS = f"""
CREATE TABLE heads (
    chain {_TEXT} NOT NULL,
    chain_seq bigint NOT NULL,
    seq bigint NOT NULL UNIQUE,
    rows bigint NOT NULL CHECK (rows > 0),
    hash bytea NOT NULL,
    booked_at_ms bigint NOT NULL,
    key_name {_TEXT} NOT NULL,
    seal bytea NOT NULL,
    PRIMARY KEY (chain, chain_seq)
);
CREATE TABLE cursor (one smallint PRIMARY KEY CHECK (one = 1), seq bigint NOT NULL);
INSERT INTO cursor VALUES (1, 0);
CREATE TABLE checkpoints (
    chain {_TEXT} NOT NULL,
    chain_seq bigint NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    pruned_at_ms bigint NOT NULL,
    key_name {_TEXT} NOT NULL,
    seal bytea NOT NULL,
    PRIMARY KEY (chain, chain_seq)
);
CREATE VIEW book AS
    SELECT heads.seq - (records.head_seq - records.chain_seq) AS seq, records.*
    FROM records
    JOIN heads ON heads.chain = records.chain AND heads.chain_seq = records.head_seq;
"""

_TEAMS = f"""
    team {_TEXT},
    model_requested {_TEXT},
    upstream {_TEXT} NOT NULL,
    currency {_TEXT},"""
_NAMES = f"""
    key_id {_TEXT} NOT NULL,{_TEAMS}"""
_SUMS = """
    requests numeric NOT NULL,
    input_tokens numeric,
    cached_tokens numeric,
    cache_write_tokens numeric,
    cache_write_long_tokens numeric,
    output_tokens numeric,
    reasoning_tokens numeric,
    searches numeric,
    cost_nano numeric,
    charge_nano numeric,
    reported_requests numeric NOT NULL,
    unpriced_requests numeric NOT NULL"""
_ROLLUPS = f"""
CREATE TABLE rollups (
    bucket_ms bigint NOT NULL,
    chain {_TEXT} NOT NULL,{_NAMES}{_SUMS},
    CONSTRAINT rollups_group UNIQUE NULLS NOT DISTINCT
        (bucket_ms, chain, key_id, team, model_requested, upstream, currency)
);
CREATE TABLE rollup_groups (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,{_NAMES}
    CONSTRAINT rollup_groups_names UNIQUE NULLS NOT DISTINCT
        (key_id, team, model_requested, upstream, currency)
);
CREATE TABLE rollup_teams (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,{_TEAMS}
    CONSTRAINT rollup_teams_names UNIQUE NULLS NOT DISTINCT
        (team, model_requested, upstream, currency)
);
CREATE TABLE fold (
    one smallint PRIMARY KEY CHECK (one = 1),
    folded_until_ms bigint NOT NULL
);
INSERT INTO fold VALUES (1, 0);
""" + "".join(
    f"""
CREATE TABLE {table} (
    group_id bigint NOT NULL,
    bucket_ms bigint NOT NULL,{_SUMS},
    PRIMARY KEY (group_id, bucket_ms)
);
"""
    for of in ("rollups", "teams")
    for table in (f"{of}_4h", f"{of}_daily", f"{of}_monthly")
)

_AROUND = f"""
CREATE TABLE journal_positions (
    writer {_TEXT} PRIMARY KEY,
    seq bigint NOT NULL,
    batch {_TEXT} NOT NULL
);
CREATE TABLE end_users (lookup {_TEXT} PRIMARY KEY, salt bytea NOT NULL);
CREATE TABLE price_versions (
    version {_TEXT} PRIMARY KEY,
    stored_at_ms bigint NOT NULL,
    terms bytea NOT NULL
);
CREATE TABLE refusals (
    bucket_ms bigint NOT NULL,
    digest bytea NOT NULL,
    key_id {_TEXT},
    code {_TEXT} NOT NULL,
    count numeric NOT NULL,
    team {_TEXT},
    limit_id {_TEXT},
    PRIMARY KEY (bucket_ms, digest)
);
CREATE TABLE served_models (
    upstream {_TEXT} NOT NULL,
    model_requested {_TEXT} NOT NULL,
    model_served {_TEXT} NOT NULL,
    PRIMARY KEY (upstream, model_requested, model_served)
);
CREATE TABLE grants (
    seq bigint PRIMARY KEY,
    id {_TEXT} NOT NULL UNIQUE,
    granted_at_ms bigint NOT NULL,
    limit_id {_TEXT} NOT NULL,
    unit {_TEXT},
    amount numeric NOT NULL,
    valid_until_ms bigint,
    reason {_TEXT},
    granted_by {_TEXT}
);
CREATE TABLE credit_links (
    seq bigint PRIMARY KEY,
    linked_at_ms bigint NOT NULL,
    late_through bigint,
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL,
    key_name {_TEXT} NOT NULL,
    seal bytea NOT NULL
);
CREATE TABLE months (
    seq bigint PRIMARY KEY,
    first_seq bigint NOT NULL,
    month {_TEXT} NOT NULL UNIQUE,
    until_ms bigint NOT NULL,
    sealed_at_ms bigint NOT NULL,
    root bytea NOT NULL,
    chunks bytea NOT NULL,
    public_key bytea NOT NULL,
    checkpoint {_TEXT} NOT NULL
);
CREATE TABLE statements (
    seq bigint PRIMARY KEY,
    month {_TEXT} NOT NULL,
    zone {_TEXT} NOT NULL,
    team {_TEXT},
    from_ms bigint NOT NULL,
    to_ms bigint NOT NULL,
    through bigint NOT NULL,
    closed_at_ms bigint NOT NULL,
    closed_by {_TEXT} NOT NULL,
    digest bytea NOT NULL,
    document bytea NOT NULL,
    public_key bytea NOT NULL,
    signature bytea NOT NULL,
    CONSTRAINT statements_month UNIQUE NULLS NOT DISTINCT (month, team)
);
CREATE TABLE tenants (
    kind {_TEXT} NOT NULL,
    name {_TEXT} NOT NULL,
    version bigint NOT NULL,
    doc bytea NOT NULL,
    PRIMARY KEY (kind, name)
);
CREATE INDEX tenants_version ON tenants (version);
CREATE TRIGGER kept BEFORE DELETE ON tenants FOR EACH ROW EXECUTE FUNCTION refuse_reuse();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON tenants
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_reuse();
CREATE TABLE audit (
    seq bigint PRIMARY KEY,
    at_ms bigint NOT NULL,
    actor {_TEXT} NOT NULL,
    origin {_TEXT} NOT NULL,
    action {_TEXT} NOT NULL,
    kind {_TEXT} NOT NULL,
    name {_TEXT} NOT NULL,
    before {_TEXT},
    after {_TEXT},
    reason {_TEXT},
    prev_hash bytea NOT NULL,
    hash bytea NOT NULL,
    key_name {_TEXT} NOT NULL,
    seal bytea NOT NULL
);
CREATE TABLE notices (
    digest bytea PRIMARY KEY,
    receiver {_TEXT} NOT NULL,
    subject {_TEXT} NOT NULL,
    message_id {_TEXT} NOT NULL,
    until_ms bigint,
    sent smallint NOT NULL,
    doc bytea NOT NULL
);
CREATE INDEX notices_message ON notices (message_id);
"""

# `home` tells the data directory, so that a process that was killed goes on at once on its own.
_INSTANCES = f"""
CREATE TABLE instances (
    name {_TEXT} PRIMARY KEY,
    boot {_TEXT} NOT NULL,
    home {_TEXT} NOT NULL,
    state {_TEXT} NOT NULL CHECK (state IN ('live', 'left', 'forgotten')),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    clear_ms bigint
);
"""

# A migration adds and never takes away: the version before it runs on its tables too.
MIGRATIONS: Final[tuple[str, ...]] = (
    "".join(
        (
            GUARD,
            _RECORDS,
            _MONTHS,
            _CHAINS,
            _ROLLUPS,
            _AROUND,
            ARCHIVES,
            *map(append_only, APPEND_ONLY),
        )
    ),
    _INSTANCES,
)

# What a process needs that books and reads, and owns nothing: {role} is its name, quoted.
RIGHTS: Final = """
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT UPDATE ON cursor, fold, instances, journal_positions, refusals, rollups, rollups_4h,
    rollups_daily, rollups_monthly, teams_4h, teams_daily, teams_monthly, tenants TO {role};
GRANT UPDATE, DELETE ON notices TO {role};
GRANT DELETE ON end_users, rollups, rollup_groups, rollups_4h, rollups_daily, rollups_monthly,
    rollup_teams, teams_4h, teams_daily, teams_monthly TO {role};
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT EXECUTE ON FUNCTION add_month(date) TO {role};
"""
