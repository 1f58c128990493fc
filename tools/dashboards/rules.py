"""Recording and alert rules for Prometheus. Each alert has a section in docs/runbook.md, and a
firing and a silent case in tests/dashboards/test_alerts.py.

A window of counters starts at a scrape, so a series that is new has no increase yet although its
first value counts something: `grew` sees both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]

BUDGET = 'per=~"day|week|month|total"'
# The sources of answers that are whole: neither an error of the vendor nor one that was broken off.
WHOLE = 'source=~"reported|counted|estimated"'
LIMIT = "scope, id, limit, unit, per"


@dataclass(frozen=True)
class Recording:
    """A series that Prometheus keeps for the alerts, and for people's own."""

    name: str
    expression: str


@dataclass(frozen=True)
class Alert:
    """`summary` says what is wrong, with the labels that say where. `lasts`: for how long it must
    be so before somebody is told."""

    name: str
    severity: Literal["critical", "warning", "info"]
    expression: str
    lasts: str
    summary: str


def grew(metric: str, window: str, labels: str = "") -> str:
    """By how much a counter grew, also where its series is younger than the window."""
    return f"(increase(tollkeeper_{metric}{labels}[{window}]) > 0 or (tollkeeper_{metric}{labels} > 0 unless tollkeeper_{metric}{labels} offset {window}))"


def not_stated(labels: str, window: str, which: str = "") -> str:
    """Of the answers whose tokens were counted by anybody, the share that the proxy had to count.

    What was refused or broken off is in neither part: the vendor had nothing to state.
    """
    selected = f"{which}, " if which else ""
    total = f"sum by ({labels})" if labels else "sum"
    ours = f'rate(tollkeeper_usage_source_total{{{selected}source=~"counted|estimated"}}[{window}])'
    whole = f"rate(tollkeeper_usage_source_total{{{selected}{WHOLE}}}[{window}])"
    return f"({total} ({ours}) or {total} ({whole}) * 0) / {total} ({whole})"


RECORDINGS: Sequence[Recording] = (
    Recording(
        "upstream_code:tollkeeper_requests:rate5m",
        "sum by (job, upstream, code) (rate(tollkeeper_requests_total[5m]))",
    ),
    Recording(
        "upstream:tollkeeper_failures:ratio_rate5m",
        'sum by (job, upstream) (rate(tollkeeper_requests_total{code=~"5..|none"}[5m]) or rate(tollkeeper_requests_total{code!~"5..|none", outcome="upstream_failed"}[5m]))'
        " / sum by (job, upstream) (rate(tollkeeper_requests_total[5m]))",
    ),
    Recording(
        "upstream:tollkeeper_time_to_first_byte_seconds:p95_rate5m",
        "histogram_quantile(0.95, sum by (job, upstream, le) (rate(tollkeeper_time_to_first_byte_seconds_bucket[5m])))",
    ),
    Recording(
        "job:tollkeeper_overhead_seconds:p99_rate5m",
        'histogram_quantile(0.99, sum by (job, le) (rate(tollkeeper_overhead_seconds_bucket{phase="admit"}[5m])))',
    ),
    Recording(
        "upstream:tollkeeper_not_reported:ratio_rate1h",
        not_stated("job, upstream", "1h"),
    ),
    Recording(
        "code:tollkeeper_refusals:rate5m",
        "sum by (job, code) (rate(tollkeeper_refusals_total[5m]))",
    ),
    Recording(
        "code:tollkeeper_refusals:rate1h",
        "sum by (job, code) (rate(tollkeeper_refusals_total[1h]))",
    ),
    Recording(
        "team_currency:tollkeeper_charge:rate1h",
        "sum by (job, team, currency) (rate(tollkeeper_charge_total[1h]))",
    ),
    Recording(
        "limit:tollkeeper_budget_used:ratio",
        f"max by (job, {LIMIT}) (tollkeeper_limit_used{{{BUDGET}}}) / (max by (job, {LIMIT}) (tollkeeper_limit_amount{{{BUDGET}}}) > 0)",
    ),
)

ALERTS: Sequence[Alert] = (
    # Is it there, and does it take work.
    Alert("TollkeeperDown", "critical", 'up{job=~".*tollkeeper.*"} == 0 or absent(up{job=~".*tollkeeper.*"})', "2m", "Prometheus cannot scrape {{ $labels.instance }}: the process is down, or its metrics address cannot be reached."),
    Alert("TollkeeperJournalNotWritable", "critical", "increase(tollkeeper_journal_failures_total[5m]) > 0", "0m", "{{ $labels.instance }} cannot write its journal, and refuses new requests while that lasts."),
    Alert("TollkeeperReloadFailed", "warning", "tollkeeper_config_last_reload_successful == 0", "1m", "{{ $labels.instance }} refused the last configuration it was offered and runs with the one before."),
    Alert("TollkeeperOverheadHigh", "warning", "job:tollkeeper_overhead_seconds:p99_rate5m > 0.01", "10m", "The proxy itself holds one request in a hundred for more than {{ $value | humanizeDuration }}."),
    # The books.
    Alert("TollkeeperLedgerLag", "critical", "tollkeeper_ledger_lag_seconds > 60", "5m", "A record on {{ $labels.instance }} has waited {{ $value | humanizeDuration }} for the ledger. Nothing is lost: the journal has it."),
    Alert("TollkeeperLedgerBacklog", "warning", "tollkeeper_ledger_backlog_records > 10000", "5m", "{{ $value | humanize }} records on {{ $labels.instance }} wait for the ledger."),
    Alert("TollkeeperQuotaAway", "critical", grew("quota_failures_total", "2m"), "1m", "{{ $labels.instance }} had no answer of the shared quota for {{ $value | humanize }} requests in two minutes. Strict limits refuse them; others let them through and count them later, as quota.on_outage says."),
    Alert("TollkeeperStrictWaits", "critical", "tollkeeper_quota_partial_seconds > 30", "0m", "Strict limits refuse on {{ $labels.instance }}, for {{ $value | humanizeDuration }} now: the counts of the shared quota are away, or lack what a process used that says nothing."),
    Alert("TollkeeperInstanceLapsed", "warning", 'max by (job) (tollkeeper_instances{state="lapsed"}) > 0', "2m", "{{ $value | humanize }} processes that share the ledger say nothing. What they hold of limits stays held, and what their journals have is not booked."),
    Alert("TollkeeperKeysStale", "critical", "tollkeeper_keys_silent_seconds > 60", "0m", "{{ $labels.instance }} has not heard of keys and teams for {{ $value | humanizeDuration }}: a key that is revoked meanwhile is served there."),
    Alert("TollkeeperDataDirFull", "critical", "tollkeeper_data_dir_free_bytes < 1073741824", "1m", "{{ $value | humanize1024 }}B are free where {{ $labels.instance }} keeps its journal. When none are, every request is refused."),
    Alert("TollkeeperDataDirFilling", "warning", "predict_linear(tollkeeper_data_dir_free_bytes[6h], 86400) < 0", "30m", "At this pace the data directory of {{ $labels.instance }} is full within a day."),
    Alert("TollkeeperRecovered", "warning", grew("recovered_total", "15m"), "0m", "{{ $labels.instance }} charged {{ $value | humanize }} requests by what a crash had left of them."),
    # What it costs.
    Alert("TollkeeperUnpricedModel", "warning", f"sum by (job, model) {grew('unpriced_requests_total', '15m')}", "0m", "{{ $labels.model }} is used and has no price: its requests are booked without a cost."),
    Alert(
        "TollkeeperMuchEstimated", "warning", f"upstream:tollkeeper_not_reported:ratio_rate1h > 0.2 and on (job, upstream) sum by (job, upstream) (increase(tollkeeper_usage_source_total{{{WHOLE}}}[1h])) >= 50", "15m",
        "{{ $value | humanizePercentage }} of the answers of {{ $labels.upstream }} are counted or estimated by the proxy, since the upstream states no usage.",
    ),
    Alert("TollkeeperPricesOld", "info", "time() - tollkeeper_prices_updated_timestamp_seconds > 60 * 86400", "1h", "The bundled price table of {{ $labels.instance }} is {{ $value | humanizeDuration }} old."),
    # Limits.
    Alert("TollkeeperBudgetAt80", "warning", "limit:tollkeeper_budget_used:ratio >= 0.8 and limit:tollkeeper_budget_used:ratio < 0.95", "0m", "{{ $labels.limit }} is {{ $value | humanizePercentage }} used."),
    Alert("TollkeeperBudgetAt95", "critical", "limit:tollkeeper_budget_used:ratio >= 0.95", "0m", "{{ $labels.limit }} is {{ $value | humanizePercentage }} used; at 100 % its requests are refused, unless it only warns."),
    Alert(
        "TollkeeperBudgetBurningFast", "warning",
        # With a reset: it will not last until then, at the pace of the last hour. Totals never
        # reset: they run out within three days. From a tenth on, since a few requests prove no
        # pace.
        f"(max by (job, {LIMIT}) (tollkeeper_limit_used{{{BUDGET}}}) + clamp_min(max by (job, {LIMIT}) (deriv(tollkeeper_limit_used{{{BUDGET}}}[1h])), 0)"
        f" * ((max by (job, {LIMIT}) (tollkeeper_limit_reset_timestamp_seconds{{{BUDGET}}}) - time()) or max by (job, {LIMIT}) (tollkeeper_limit_amount{{{BUDGET}}}) * 0 + 3 * 86400)"
        f" > max by (job, {LIMIT}) (tollkeeper_limit_amount{{{BUDGET}}})) and limit:tollkeeper_budget_used:ratio >= 0.1 and limit:tollkeeper_budget_used:ratio < 0.95", "30m",
        "{{ $labels.limit }} will be used up before it resets: at the pace of the last hour it comes to {{ $value | humanize }}.",
    ),
    Alert("TollkeeperRefusalsSurge", "warning", "code:tollkeeper_refusals:rate5m > 0.2 and code:tollkeeper_refusals:rate5m > 3 * code:tollkeeper_refusals:rate1h", "5m", "{{ $value | printf `%.1f` }} requests a second are refused with {{ $labels.code }}, several times more than in the hour."),
    Alert("TollkeeperStrictBreach", "critical", f"sum by (job, scope, id, limit) {grew('strict_breaches_total', '15m')}", "0m", "Requests used more of {{ $labels.limit }} than they could be bounded by: a vendor billed beyond a cap, or answered from a dearer model."),
    Alert("TollkeeperLimitValuesShared", "warning", "max by (job, scope, id, limit) (tollkeeper_limit_values_shared) == 1", "0m", "{{ $labels.limit }} has more values than quota.values_max: those that come now share one count, and may refuse each other."),
    Alert("TollkeeperKeyExpiring", "warning", "tollkeeper_key_expiry_timestamp_seconds - time() < 7 * 86400 and tollkeeper_key_expiry_timestamp_seconds > time()", "0m", "The key {{ $labels.key }} expires in {{ $value | humanizeDuration }}."),
    Alert("TollkeeperNoticeLost", "warning", f"sum by (job, event, result) {grew('notifications_total', '15m', '{result!=' + chr(34) + 'delivered' + chr(34) + '}')}", "0m", "A notice of {{ $labels.event }} reached nobody: {{ $labels.result }}."),
    # The upstreams.
    Alert(
        "TollkeeperUpstreamErrors", "critical", "upstream:tollkeeper_failures:ratio_rate5m > 0.05 and on (job, upstream) sum by (job, upstream) (upstream_code:tollkeeper_requests:rate5m) > 0.05", "5m",
        "{{ $value | humanizePercentage }} of the requests to {{ $labels.upstream }} fail.",
    ),
    Alert("TollkeeperUpstreamSlow", "warning", "upstream:tollkeeper_time_to_first_byte_seconds:p95_rate5m > 30", "10m", "One answer of {{ $labels.upstream }} in twenty begins later than {{ $value | humanizeDuration }}."),
    Alert("TollkeeperCredentialRejected", "critical", f"sum by (job, upstream) {grew('upstream_errors_total', '5m', '{kind=' + chr(34) + 'credentials' + chr(34) + '}')}", "0m", "{{ $labels.upstream }} rejects the key that the proxy sends: every request to it fails."),
    Alert(
        "TollkeeperUpstreamLimitsUs", "warning",
        'upstream_code:tollkeeper_requests:rate5m{code="429"} > on (job, upstream) 0.05 * sum by (job, upstream) (upstream_code:tollkeeper_requests:rate5m)', "5m",
        "{{ $labels.upstream }} answers {{ $value | printf `%.2f` }} requests a second with 429: our account there is at its limit.",
    ),
    # The metrics themselves.
    Alert("TollkeeperSeriesFolded", "info", "increase(tollkeeper_series_dropped_total[15m]) > 0", "15m", "{{ $labels.instance }} counts new label values under `other`, since metrics.max_series is reached."),
)  # fmt: skip


def document(runbook: str) -> Json:
    """The file that Prometheus loads."""
    return {
        "groups": [
            {
                "name": "tollkeeper.recordings",
                "rules": [{"record": rule.name, "expr": rule.expression} for rule in RECORDINGS],
            },
            {"name": "tollkeeper.alerts", "rules": [_alert(alert, runbook) for alert in ALERTS]},
        ]
    }


def _alert(alert: Alert, runbook: str) -> Json:
    lasts = {} if alert.lasts == "0m" else {"for": alert.lasts}
    return {
        "alert": alert.name, "expr": alert.expression, **lasts, "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook_url": f"{runbook}#{alert.name.lower()}"},
    }  # fmt: skip
