"""The metrics of health: whether the books are kept, and by whom."""

from __future__ import annotations

from proxy.metrics.spec import Spec

HEALTH: tuple[Spec, ...] = (
    Spec("journal_bytes", "gauge", (), "bytes", "Size of the journal on disk."),
    Spec(
        "journal_open_exchanges",
        "gauge",
        (),
        "exchanges",
        "Exchanges opened in the journal and not closed yet.",
    ),
    Spec(
        "journal_failures_total", "counter", (), "errors", "Journal writes and syncs that failed."
    ),
    Spec("journal_write_seconds", "histogram", (), "seconds", "Time of one journal write."),
    Spec(
        "recovered_total",
        "counter",
        (),
        "exchanges",
        "Exchanges settled from their marks after a crash.",
    ),
    Spec(
        "ledger_lag_seconds",
        "gauge",
        (),
        "seconds",
        "Age of the oldest record that is journaled and not yet in the ledger.",
    ),
    Spec(
        "ledger_backlog_records",
        "gauge",
        (),
        "records",
        "Records journaled and not yet in the ledger.",
    ),
    Spec(
        "ledger_failures_total",
        "counter",
        (),
        "errors",
        "Bookings that failed and are tried again.",
    ),
    Spec("ledger_head_seq", "gauge", (), "records", "The seq of the last record in the ledger."),
    Spec(
        "ledger_head_hash",
        "gauge",
        (),
        "number",
        "The first 48 bits of the hash of that record: an anchor, where scrapes are kept.",
    ),
    Spec(
        "quota_failures_total",
        "counter",
        (),
        "requests",
        "Requests that a shared quota gave no answer for: refused, or let through and counted "
        "later (quota.on_outage).",
    ),
    Spec(
        "quota_epochs_total",
        "counter",
        (),
        "epochs",
        "How often the counts of a shared quota were built anew, the first time included.",
    ),
    Spec(
        "quota_build_seconds",
        "gauge",
        (),
        "seconds",
        "How long this process took to build them when it did so last; no sample if it has not.",
    ),
    Spec(
        "quota_partial_seconds",
        "gauge",
        (),
        "seconds",
        "For how long strict limits have refused, as the counts are away or not whole; 0: they are "
        "whole.",
    ),
    Spec(
        "quota_waiting",
        "gauge",
        (),
        "processes",
        "Processes for which strict limits wait: what these used is not in the counts yet.",
    ),
    Spec(
        "instances",
        "gauge",
        ("state",),
        "processes",
        "Processes that share the ledger, by state: live, left in order, or lapsed, of which "
        "nothing was heard for 5 s.",
    ),
    Spec(
        "keys_silent_seconds",
        "gauge",
        (),
        "seconds",
        "How long ago all that other processes have written of keys and teams was last in effect "
        "here; 0: there are no others.",
    ),
    Spec(
        "keys_version",
        "gauge",
        (),
        "changes",
        "The version of keys and teams that is in effect, where processes share the ledger.",
    ),
    Spec(
        "keys_version_ledger",
        "gauge",
        (),
        "changes",
        "The version of them in the ledger, as this process saw it last.",
    ),
    Spec(
        "lapsed_holds",
        "gauge",
        (),
        "requests",
        "Requests for which silent processes hold something of limits in a shared quota.",
    ),
    Spec(
        "lapsed_holds_age_seconds",
        "gauge",
        (),
        "seconds",
        "Age of the oldest of these requests; 0: there is none.",
    ),
    Spec(
        "notifications_total",
        "counter",
        ("event", "result"),
        "notices",
        "Notices for a receiver of `notify`, by event and result: delivered, refused by it, "
        "given_up after a day, or dropped because too many waited.",
    ),
    Spec(
        "series_dropped_total",
        "counter",
        (),
        "updates",
        "Updates counted under other because metrics.max_series was reached.",
    ),
    Spec(
        "config_last_reload_successful",
        "gauge",
        (),
        "boolean",
        "1 if the configuration in force is the last one offered, 0 if a reload was refused.",
    ),
    Spec(
        "key_expiry_timestamp_seconds",
        "gauge",
        ("key",),
        "Unix seconds",
        "When a key expires; no sample for keys that do not.",
    ),
    Spec(
        "prices_updated_timestamp_seconds",
        "gauge",
        (),
        "Unix seconds",
        "Day of the bundled price table; no sample where no upstream has a price_source.",
    ),
    Spec("data_dir_free_bytes", "gauge", (), "bytes", "Free space for journal and ledger."),
    Spec("build_info", "gauge", ("version",), "info", "Always 1; the version is the label."),
)
