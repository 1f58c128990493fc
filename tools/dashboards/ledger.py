"""The dashboard Ledger health: are the books being kept, and will that go on."""

from __future__ import annotations

from tools.dashboards.grafana import Dashboard, Panel, Query, Row
from tools.dashboards.rules import not_stated


def each(metric: str, legend: str = "{{instance}}") -> Query:
    return Query(f"max by (instance) (tollkeeper_{metric})", legend)


NOW = Row("Now", (
    Panel("Waiting for the ledger", "Records that are safe in the journal and not yet in the ledger.", "short", (Query("sum(tollkeeper_ledger_backlog_records)"),), "stat", 4, 5, warn=1000, fail=10000, alert="TollkeeperLedgerBacklog"),
    Panel("Lag", "For how long the oldest of them has waited.", "s", (Query("max(tollkeeper_ledger_lag_seconds)"),), "stat", 4, 5, warn=10, fail=60, alert="TollkeeperLedgerLag"),
    Panel("Journal failures", "Writes and syncs of the journal that failed in the period shown. While they fail, new requests are refused.", "short", (
        Query("sum(increase(tollkeeper_journal_failures_total[$__range]))"),
    ), "stat", 4, 5, fail=1, decimals=0, alert="TollkeeperJournalNotWritable"),
    Panel("Free space", "Where the journal and the ledger are kept.", "bytes", (Query("min(tollkeeper_data_dir_free_bytes)"),), "stat", 4, 5, warn=10 * 2**30, fail=2**30, alert="TollkeeperDataDirFull"),
    Panel("Last reload", "1: the configuration in force is the last one offered. 0: a reload was refused, and the one before it holds.", "short", (
        Query("min(tollkeeper_config_last_reload_successful)"),
    ), "stat", 4, 5, warn=1, fail=0.5, decimals=0, alert="TollkeeperReloadFailed"),
    Panel("Recovered", "Requests that a crash left open, charged by what the journal had marked, in the period shown.", "short", (
        Query("sum(increase(tollkeeper_recovered_total[$__range]))"),
    ), "stat", 4, 5, warn=1, decimals=0, alert="TollkeeperRecovered"),
))  # fmt: skip

BOOKS = Row("Journal and ledger", (
    Panel("Backlog over time", "Records journaled and not yet in the ledger.", "short", (each("ledger_backlog_records"),), warn=1000, fail=10000, low=0, alert="TollkeeperLedgerBacklog"),
    Panel("Lag over time", "Age of the oldest of them.", "s", (each("ledger_lag_seconds"),), warn=10, fail=60, low=0, alert="TollkeeperLedgerLag"),
    Panel("Failures", "Bookings that failed and are tried again, journal writes that failed, and requests without an answer of a shared quota, a second.", "short", (
        Query("sum by (instance) (rate(tollkeeper_ledger_failures_total[$__rate_interval]))", "ledger {{instance}}"),
        Query("sum by (instance) (rate(tollkeeper_journal_failures_total[$__rate_interval]))", "journal {{instance}}"),
        Query("sum by (instance) (rate(tollkeeper_quota_failures_total[$__rate_interval]))", "quota {{instance}}"),
    ), low=0, alert="TollkeeperJournalNotWritable"),
    Panel("One journal write", "Time of one write to the journal; it is on the way of every request.", "s", tuple(
        Query(f"histogram_quantile({share}, sum by (le) (rate(tollkeeper_journal_write_seconds_bucket[$__rate_interval])))", name) for share, name in ((0.5, "p50"), (0.99, "p99"))
    ), alert="TollkeeperOverheadHigh"),
    Panel("End of the ledger", "The seq of its last record. With its hash, which is shown as a number, it is an anchor: docs/book.md.", "short", (
        each("ledger_head_seq"), Query("max by (instance) (tollkeeper_ledger_head_hash)", "hash {{instance}}"),
    ), low=0),
    Panel("Journal", "Size of the journal on disk.", "bytes", (each("journal_bytes"),), low=0),
    Panel("Open exchanges", "Exchanges opened in the journal and not closed: about the requests in flight. One that never closes would stay.", "short", (each("journal_open_exchanges"),), low=0),
))  # fmt: skip

PROCESSES = Row("Processes that share the ledger", (
    Panel("Processes", "By state: live, left in order, or lapsed, of which nothing was heard for 5 s. Each process tells of all.", "short", (Query("max by (state) (tollkeeper_instances)", "{{state}}"),), low=0, width=8, alert="TollkeeperInstanceLapsed"),
    Panel("Held by silent ones", "Requests for which processes that are lapsed hold something of limits in a shared quota, until their journal is booked, they are forgotten, or the windows end.", "short", (Query("max(tollkeeper_lapsed_holds)", "requests"),), low=0, width=8, warn=1, alert="TollkeeperInstanceLapsed"),
    Panel("Age of the oldest of these", "How long ago the oldest such request began.", "s", (Query("max(tollkeeper_lapsed_holds_age_seconds)", "oldest"),), low=0, width=8, warn=600, alert="TollkeeperInstanceLapsed"),
    Panel("Strict limits wait", "For how long the strict limits of each process have refused, as the counts of a shared quota are away or not whole.", "s", (each("quota_partial_seconds"),), low=0, width=8, warn=5, fail=30, alert="TollkeeperStrictWaits"),
    Panel("Waited for", "Processes that have not handed in what they used since the counts were lost.", "short", (Query("max(tollkeeper_quota_waiting)", "processes"),), low=0, width=8, warn=1, alert="TollkeeperStrictWaits"),
    Panel("Counts built anew", "How often they were in the period shown, and how long that took whoever did it last.", "short", (
        Query("max(increase(tollkeeper_quota_epochs_total[$__range]))", "times"),
        Query("max by (instance) (tollkeeper_quota_build_seconds)", "seconds {{instance}}"),
    ), low=0, width=8),
    Panel("Keys last heard of", "How long ago all that other processes have written of keys and teams was in effect at each process. Meanwhile it serves what it knew.", "s", (each("keys_silent_seconds"),), low=0, width=12, warn=10, fail=60, alert="TollkeeperKeysStale"),
    Panel("Version of keys", "Of keys and teams: in effect at each process, and in the ledger as it saw it last. Between the two lies what is not in effect yet.", "short", (
        each("keys_version", "in effect {{instance}}"), each("keys_version_ledger", "in the ledger, seen by {{instance}}"),
    ), low=0, width=12, alert="TollkeeperKeysStale"),
))  # fmt: skip

ROOM = Row("Room and dates", (
    Panel("Free space over time", "Where the journal and the ledger are kept.", "bytes", (each("data_dir_free_bytes"),), warn=10 * 2**30, fail=2**30, low=0, width=8, alert="TollkeeperDataDirFilling"),
    Panel("Free space in a day", "At the pace of the last six hours.", "bytes", (
        Query("clamp_min(predict_linear(tollkeeper_data_dir_free_bytes[6h], 86400), 0)", "{{instance}}"),
    ), warn=10 * 2**30, fail=2**30, width=8, alert="TollkeeperDataDirFilling"),
    Panel("Bundled prices", "Age of the bundled price table, where an upstream goes by it.", "s", (Query("clamp_min(time() - max(tollkeeper_prices_updated_timestamp_seconds), 0)"),), "stat", 8, 8, warn=45 * 86400, fail=60 * 86400, alert="TollkeeperPricesOld"),
    Panel("Keys that expire", "Time until each key expires, the nearest first; those that have expired are left out.", "s", (
        Query("sort(bottomk(15, min by (key) (tollkeeper_key_expiry_timestamp_seconds) - time() > 0))", "expires in"),
    ), "table", 8, 8, alert="TollkeeperKeyExpiring", opens=False),
    Panel("Versions", "Which version runs where.", "short", (Query("max by (instance, version) (tollkeeper_build_info)", "up"),), "table", 8, 8, hidden=("up",)),
    Panel("Folded series", "Updates a second counted under `other` because metrics.max_series was reached.", "short", (
        Query("sum by (instance) (rate(tollkeeper_series_dropped_total[$__rate_interval]))", "{{instance}}"),
    ), width=8, low=0, alert="TollkeeperSeriesFolded"),
    Panel("Notices", "Notices for the receivers of `notify` in the period shown, by event and result: all but delivered are lost.", "short", (
        Query("sum by (event, result) (increase(tollkeeper_notifications_total[$__range])) > 0", "notices"),
    ), "table", 24, 8, alert="TollkeeperNoticeLost"),
))  # fmt: skip

TRUST = Row("Sources and estimates", (
    Panel("Not stated by the vendor", "Share of each upstream's whole answers that the proxy counted or estimated. `stream_usage: inject` makes most of them exact.", "percentunit", (
        Query(not_stated("upstream", "$__rate_interval"), "{{upstream}}"),
    ), warn=0.05, fail=0.2, low=0, high=1, alert="TollkeeperMuchEstimated"),
    Panel("Error of the estimates", "Estimated over stated tokens, minus one, of answers that state theirs and were counted too: 0.02 is 2 % too many.", "percentunit", (
        Query("max by (model) (tollkeeper_estimate_error_ratio)", "{{model}}"),
    ), signed=True, alert="TollkeeperMuchEstimated"),
))  # fmt: skip

DASHBOARD = Dashboard(
    "tollkeeper-ledger",
    "Tollkeeper / Ledger health",
    "Are the books being kept, and will that go on.",
    (NOW, BOOKS, PROCESSES, ROOM, TRUST),
)
