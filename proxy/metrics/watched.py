"""The metrics that other parts keep, and that are read from them at a scrape."""

from __future__ import annotations

WATCHED = frozenset(
    {
        "journal_bytes",
        "journal_open_exchanges",
        "journal_failures_total",
        "ledger_lag_seconds",
        "ledger_backlog_records",
        "ledger_failures_total",
        "ledger_head_seq",
        "ledger_head_hash",
        "quota_failures_total",
        "quota_epochs_total",
        "quota_build_seconds",
        "quota_partial_seconds",
        "quota_waiting",
        "keys_silent_seconds",
        "keys_version",
        "keys_version_ledger",
        "lapsed_holds",
        "lapsed_holds_age_seconds",
        "data_dir_free_bytes",
        "prices_updated_timestamp_seconds",
    }
)
WATCHED_BY_MODEL = frozenset({"estimate_error_ratio"})
WATCHED_HISTOGRAMS = frozenset({"journal_write_seconds"})
