"""Triggers that refuse changes to what is booked, as part of the migrations of `tables`."""

from __future__ import annotations

from typing import Final

APPEND_ONLY: Final = (
    "records",
    "heads",
    "checkpoints",
    "grants",
    "price_versions",
    "audit",
    "credit_links",
    "months",
    "statements",
    "archives",
    "archived_sums",
)

# Of these a row that a checkpoint covers may go: its month is archived.
_PRUNED = ("records", "heads")

# What refuses changes. ALWAYS: also for one who replays a replica's changes.
GUARD: Final = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: corrections are new rows', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE FUNCTION refuse_unarchived() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM checkpoints
        WHERE chain = OLD.chain AND chain_seq >= OLD.chain_seq) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only: corrections are new rows', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE FUNCTION refuse_reuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'names are never used again: revoke the key or team'
        USING ERRCODE = 'restrict_violation';
END $$;
"""


def append_only(table: str) -> str:
    """The statements that let no row of the table be changed or taken out."""
    refuse = "refuse_unarchived" if table in _PRUNED else "refuse_change"
    return f"""
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION {refuse}();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE {table} ENABLE ALWAYS TRIGGER never_emptied;
"""
