"""Each alert fires when it should and is silent when it should: promtool's unit tests, from one
table. And each has its section in the runbook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.prometheus import promtool
from tools.dashboards.files import TARGET
from tools.dashboards.limits import DASHBOARD as LIMITS
from tools.dashboards.rules import ALERTS, RECORDINGS, not_stated

pytestmark = pytest.mark.whole

RULES = TARGET / "prometheus" / "tollkeeper.rules.yml"
RUNBOOK = TARGET.parent / "docs" / "runbook.md"

PROXY = 'job="tollkeeper", instance="a:9464"'
WHO = f'{PROXY}, team="research", key="alice", model="m", upstream="up"'
BUDGET = f'{PROXY}, scope="team", id="research", limit="team:research/USD/month", unit="USD", per="month"'
ON = {"job": "tollkeeper", "instance": "a:9464"}
OF_BUDGET = {
    "job": "tollkeeper",
    "scope": "team",
    "id": "research",
    "limit": "team:research/USD/month",
    "unit": "USD",
    "per": "month",
}
UP = {"job": "tollkeeper", "upstream": "up"}
Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Samples a minute apart, in promtool's notation, from which an alert fires at a time, with
    these labels and this summary; and others at which it does not."""

    alert: str
    fires: Series
    silent: Series
    at: str
    labels: dict[str, str]
    summary: str


def gauge(name: str, values: str, labels: str = PROXY) -> Series:
    return {f"tollkeeper_{name}{{{labels}}}": values}


def buckets(name: str, bound: str, labels: str = PROXY) -> Series:
    """Sixty observations a minute, all in the bucket that ends at `bound`."""
    bounds = {"admit": ("0.001", "0.01", "0.05"), "first": ("10.0", "30.0", "60.0")}[
        "admit" if name.startswith("overhead") else "first"
    ]
    steps = {le: "0+60x60" if float(le) >= float(bound) else "0x60" for le in bounds}
    return {
        f'tollkeeper_{name}_bucket{{{labels}, le="{le}"}}': values
        for le, values in {**steps, "+Inf": "0+60x60"}.items()
    }


def requests(code: str, a_minute: int, outcome: str = "completed") -> Series:
    return {
        f'tollkeeper_requests_total{{{WHO}, code="{code}", outcome="{outcome}"}}': f"0+{a_minute}x60"
    }


def sources(**a_minute: int) -> Series:
    return {
        f'tollkeeper_usage_source_total{{{PROXY}, upstream="up", model="m", source="{source}"}}': f"0+{count}x90"
        for source, count in a_minute.items()
    }


def budget(
    used: str, resets_s: int | None = 86_400 * 10, amount: str = "500x120", per: str = "month"
) -> Series:
    labels = BUDGET.replace("month", per)
    reset = (
        {}
        if resets_s is None
        else gauge("limit_reset_timestamp_seconds", f"{resets_s}x120", labels)
    )
    return {**gauge("limit_amount", amount, labels), **gauge("limit_used", used, labels), **reset}


def refusals(values: str, code: str = "rate_limit_exceeded") -> Series:
    return {
        f'tollkeeper_refusals_total{{{PROXY}, team="research", key="alice", code="{code}", limit="soft-day"}}': values
    }


SHARED = f'{PROXY}, scope="team", id="a", limit="each"'

CASES = (
    Case("TollkeeperDown", {f"up{{{PROXY}}}": "1x4 0x10"}, {f"up{{{PROXY}}}": "1x4 0x1 1x10"}, "8m", ON, "Prometheus cannot scrape a:9464: the process is down, or its metrics address cannot be reached."),
    Case("TollkeeperJournalNotWritable", gauge("journal_failures_total", "0x4 1x10"), gauge("journal_failures_total", "5x20"), "6m", ON, "a:9464 cannot write its journal, and refuses new requests while that lasts."),
    Case("TollkeeperReloadFailed", gauge("config_last_reload_successful", "1 0x9"), gauge("config_last_reload_successful", "1x9"), "5m", ON, "a:9464 refused the last configuration it was offered and runs with the one before."),
    Case(
        "TollkeeperOverheadHigh", buckets("overhead_seconds", "0.05", f'{PROXY}, phase="admit"'), buckets("overhead_seconds", "0.01", f'{PROXY}, phase="admit"'), "20m",
        {"job": "tollkeeper"}, "The proxy itself holds one request in a hundred for more than 49.6ms.",
    ),
    Case("TollkeeperLedgerLag", gauge("ledger_lag_seconds", "0x4 90+60x20"), gauge("ledger_lag_seconds", "0x4 90 120 0x20"), "12m", ON, "A record on a:9464 has waited 8m 30s for the ledger. Nothing is lost: the journal has it."),
    Case("TollkeeperLedgerBacklog", gauge("ledger_backlog_records", "20000x20"), gauge("ledger_backlog_records", "9000x20"), "10m", ON, "20k records on a:9464 wait for the ledger."),
    Case("TollkeeperQuotaAway", gauge("quota_failures_total", "0x4 0+50x10"), gauge("quota_failures_total", "7x20"), "9m", ON, "a:9464 had no answer of the shared quota for 100 requests in two minutes. Strict limits refuse them; others let them through and count them later, as quota.on_outage says."),
    Case("TollkeeperStrictWaits", gauge("quota_partial_seconds", "0x2 10+60x5"), gauge("quota_partial_seconds", "0 20 0 29x9"), "4m", ON, "Strict limits refuse on a:9464, for 1m 10s now: the counts of the shared quota are away, or lack what a process used that says nothing."),
    Case("TollkeeperInstanceLapsed", gauge("instances", "0x2 1x10", f'{PROXY}, state="lapsed"'), gauge("instances", "3x10", f'{PROXY}, state="live"'), "7m", {"job": "tollkeeper"}, "1 processes that share the ledger say nothing. What they hold of limits stays held, and what their journals have is not booked."),
    Case("TollkeeperKeysStale", gauge("keys_silent_seconds", "0x2 90+60x10"), gauge("keys_silent_seconds", "0x2 59x10"), "3m", ON, "a:9464 has not heard of keys and teams for 1m 30s: a key that is revoked meanwhile is served there."),
    Case("TollkeeperDataDirFull", gauge("data_dir_free_bytes", "536870912x10"), gauge("data_dir_free_bytes", "2147483648x10"), "5m", ON, "512MiB are free where a:9464 keeps its journal. When none are, every request is refused."),
    Case(
        "TollkeeperDataDirFilling", gauge("data_dir_free_bytes", "100000000000-100000000x90"), gauge("data_dir_free_bytes", "100000000000-50000000x90"), "70m", ON,
        "At this pace the data directory of a:9464 is full within a day.",
    ),
    Case("TollkeeperRecovered", gauge("recovered_total", "_x4 3x20"), gauge("recovered_total", "0x30"), "6m", ON, "a:9464 charged 3 requests by what a crash had left of them."),
    Case(
        "TollkeeperUnpricedModel", gauge("unpriced_requests_total", "_x30 1x30", f'{PROXY}, model="new"'), gauge("unpriced_requests_total", "7x60", f'{PROXY}, model="old"'), "35m",
        {"job": "tollkeeper", "model": "new"}, "new is used and has no price: its requests are booked without a cost.",
    ),
    Case("TollkeeperMuchEstimated", sources(reported=3, estimated=1), sources(reported=9, estimated=1), "80m", UP, "25% of the answers of up are counted or estimated by the proxy, since the upstream states no usage."),
    Case("TollkeeperPricesOld", gauge("prices_updated_timestamp_seconds", "-5356800x90"), gauge("prices_updated_timestamp_seconds", "-4320000x90"), "70m", ON, "The bundled price table of a:9464 is 62d 1h 10m 0s old."),
    Case("TollkeeperBudgetAt80", budget("400x10"), budget("399x10"), "5m", OF_BUDGET, "team:research/USD/month is 80% used."),
    Case("TollkeeperBudgetAt95", budget("480x10"), budget("474x10"), "5m", OF_BUDGET, "team:research/USD/month is 96% used; at 100 % its requests are refused, unless it only warns."),
    # One unit a minute from 100 on, ten days to go; against a twentieth of it.
    Case("TollkeeperBudgetBurningFast", budget("100+1x120"), budget("100+0.02x120"), "100m", OF_BUDGET, "team:research/USD/month will be used up before it resets: at the pace of the last hour it comes to 14.5k."),
    Case("TollkeeperRefusalsSurge", refusals("0x60 0+60x20"), refusals("0+60x80"), "72m", {"job": "tollkeeper", "code": "rate_limit_exceeded"}, "1.0 requests a second are refused with rate_limit_exceeded, several times more than in the hour."),
    Case(
        "TollkeeperStrictBreach", gauge("strict_breaches_total", "_x30 2x30", f'{PROXY}, scope="key", id="alice", limit="hard"'), gauge("strict_breaches_total", "2x60", f'{PROXY}, scope="key", id="alice", limit="hard"'), "35m",
        {"job": "tollkeeper", "scope": "key", "id": "alice", "limit": "hard"}, "Requests used more of hard than they could be bounded by: a vendor billed beyond a cap, or answered from a dearer model.",
    ),
    Case(
        "TollkeeperLimitValuesShared", gauge("limit_values_shared", "0x2 1x10", SHARED), gauge("limit_values_shared", "0x10", SHARED), "5m", {"job": "tollkeeper", "scope": "team", "id": "a", "limit": "each"},
        "each has more values than quota.values_max: those that come now share one count, and may refuse each other.",
    ),
    Case(
        "TollkeeperKeyExpiring", gauge("key_expiry_timestamp_seconds", "432000x10", f'{PROXY}, key="alice"'), gauge("key_expiry_timestamp_seconds", "864000x10", f'{PROXY}, key="alice"'), "5m",
        {**ON, "key": "alice"}, "The key alice expires in 4d 23h 55m 0s.",
    ),
    Case(
        "TollkeeperNoticeLost", gauge("notifications_total", "0x10 2x20", f'{PROXY}, event="limit_near", result="refused"'), gauge("notifications_total", "0x10 2x20", f'{PROXY}, event="limit_near", result="delivered"'), "12m",
        {"job": "tollkeeper", "event": "limit_near", "result": "refused"}, "A notice of limit_near reached nobody: refused.",
    ),
    Case("TollkeeperUpstreamErrors", {**requests("200", 90), **requests("502", 6), **requests("200", 4, "upstream_failed")}, {**requests("200", 96), **requests("502", 4), **requests("429", 20)}, "12m", UP, "10% of the requests to up fail."),
    Case(
        "TollkeeperUpstreamSlow", buckets("time_to_first_byte_seconds", "60.0", f'{PROXY}, upstream="up", model="m"'), buckets("time_to_first_byte_seconds", "30.0", f'{PROXY}, upstream="up", model="m"'), "20m",
        UP, "One answer of up in twenty begins later than 58.5s.",
    ),
    Case(
        "TollkeeperCredentialRejected", gauge("upstream_errors_total", "_x10 1x20", f'{PROXY}, upstream="up", kind="credentials"'), gauge("upstream_errors_total", "_x10 9x20", f'{PROXY}, upstream="up", kind="reset"'), "12m",
        UP, "up rejects the key that the proxy sends: every request to it fails.",
    ),
    Case("TollkeeperUpstreamLimitsUs", {**requests("200", 90), **requests("429", 12)}, {**requests("200", 99), **requests("429", 3)}, "12m", UP, "up answers 0.20 requests a second with 429: our account there is at its limit."),
    Case("TollkeeperSeriesFolded", gauge("series_dropped_total", "0+5x60"), gauge("series_dropped_total", "5x60"), "40m", ON, "a:9464 counts new label values under `other`, since metrics.max_series is reached."),
)  # fmt: skip

# What else must not be said, or must: edges of the rules that the two cases above do not touch.
SILENT = (
    # used up already: At95 tells
    ("TollkeeperBudgetBurningFast", budget("500+1x120"), "100m"),
    # not a tenth used: no pace yet
    ("TollkeeperBudgetBurningFast", budget("1+1x30"), "30m"),
    # a rate is meant to be used
    ("TollkeeperBudgetAt95", budget("60x10", 60, "60x120", "minute"), "5m"),
    # one alert for one thing
    ("TollkeeperBudgetAt80", budget("480x10"), "5m"),
    ("TollkeeperKeyExpiring", gauge("key_expiry_timestamp_seconds", "60x10", f'{PROXY}, key="alice"'), "5m"),   # it has
    # too few to say
    ("TollkeeperMuchEstimated", dict.fromkeys(sources(estimated=1), "0x60 1x30"), "80m"),
    # a vendor's errors have no usage to state
    ("TollkeeperMuchEstimated", sources(none=50, partial=9, reported=5, estimated=1), "80m"),
    ("TollkeeperMuchEstimated", sources(none=50), "80m"),
    # one request a minute
    ("TollkeeperUpstreamErrors", requests("502", 1), "12m"),
    ("TollkeeperUnpricedModel", gauge("unpriced_requests_total", "0x60", f'{PROXY}, model="m"'), "5m"),
)  # fmt: skip
FIRES = (
    (
        "TollkeeperBudgetBurningFast",
        budget("100+1x120", None, per="total"),
        "100m",
    ),  # a total: out within three days
    ("TollkeeperDown", {}, "5m"),  # not even a target
)


@dataclass(frozen=True)
class Unit:
    """One of promtool's tests: what an alert says at a time, given these samples."""

    alert: str
    series: Series
    at: str
    expected: list[dict[str, object]]

    @property
    def metrics(self) -> set[str]:
        return {series.partition("{")[0] for series in self.series}


def run(directory: Path, units: list[Unit]) -> tuple[int, str]:
    """Units that share no metric do not see each other, so they go into one database: each of its
    minutes costs an evaluation of all rules."""
    groups: list[list[Unit]] = []
    for unit in units:
        fitting = (
            group
            for group in groups
            if not any(unit.metrics & other.metrics or unit.alert == other.alert for other in group)
        )
        group = next(fitting, None)
        if group is None:
            groups.append([unit])
        else:
            group.append(unit)
    path = directory / "tests.yml"
    path.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(RULES)],
                "evaluation_interval": "1m",
                "tests": [_test(group) for group in groups],
            }
        )
    )
    return promtool("test", "rules", path)


def _test(group: list[Unit]) -> dict[str, object]:
    return {
        "interval": "1m", "input_series": [{"series": key, "values": values} for unit in group for key, values in unit.series.items()],
        "alert_rule_test": [{"alertname": unit.alert, "eval_time": unit.at, "exp_alerts": unit.expected} for unit in group],
    }  # fmt: skip


def firing(case: Case) -> list[dict[str, object]]:
    [rule] = [rule for rule in ALERTS if rule.name == case.alert]
    return [
        {
            "exp_labels": {"severity": rule.severity, **case.labels},
            "exp_annotations": {
                "summary": case.summary,
                "runbook_url": f"docs/runbook.md#{case.alert.lower()}",
            },
        }
    ]


def test_every_alert_fires_with_its_labels_and_words(tmp_path):
    assert [case.alert for case in CASES] == [alert.name for alert in ALERTS], (
        "each alert has one row in CASES, in order"
    )
    status, said = run(
        tmp_path, [Unit(case.alert, case.fires, case.at, firing(case)) for case in CASES]
    )
    assert status == 0, said


def test_every_alert_is_silent_else(tmp_path):
    units = [Unit(case.alert, case.silent, case.at, []) for case in CASES] + [
        Unit(alert, series, at, []) for alert, series, at in SILENT
    ]
    status, said = run(tmp_path, units)
    assert status == 0, said


def test_the_other_edges_fire_too(tmp_path):
    """Expected silent, so that promtool complains; what an alert says is held by the rows above."""
    for alert, series, at in FIRES:
        status, said = run(tmp_path, [Unit(alert, series, at, [])])
        assert (status, f"alertname: {alert}" in said) == (1, True), said


def test_a_budget_that_is_used_up_is_the_longest_bar(tmp_path):
    """By how much of the time to its reset nothing is left: 1 where it is used up, none where it
    lasts; a total goes by 30 days."""
    name = (
        "tollkeeper_limit_{}{{"
        + 'job="j", instance="i", scope="team", id="t", limit="{}", unit="USD", per="{}"}}'
    )
    series = {}
    for limit, per, amount, used, reset in (
        ("used-up", "month", "100", "100", 864_000), ("beyond", "day", "100", "130", 864_000), ("lacks", "day", "76", "10+0.4x120", 3600 + 4 * 3600), ("lasts", "month", "100000", "1+1x120", 864_000),
        ("total", "total", "1160", "100+1x120", None), ("minute", "minute", "60", "60", 3660),
    ):  # fmt: skip
        for kind, value in (
            ("amount", amount),
            ("used", used),
            ("held", "0"),
            ("reset_timestamp_seconds", reset),
        ):
            if value is not None:
                series[name.format(kind, limit, per)] = (
                    str(value) if "x" in str(value) else f"{value}x120"
                )
    [expression] = [
        query.expression
        for panel in LIMITS.panels
        if panel.title.startswith("Budgets that run out")
        for query in panel.queries
    ]
    expression = re.sub(r"\$\w+", ".*", expression)
    labels = 'id="t", limit="{}", per="{}", scope="team", unit="USD"'
    # At one hour `lacks` has 76 - 34 = 42 left, for 105 of 240 minutes; `total` has 1000 left, for
    # 1000 of 43,200.
    expected = [
        ("used-up", "month", 1),
        ("beyond", "day", 1),
        ("lacks", "day", 1 - 105 / 240),
        ("total", "total", 1 - 1000 / 43_200),
    ]
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [{"expr": f"round({expression}, 0.0001)", "eval_time": "1h", "exp_samples": [
            {"labels": f"{{{labels.format(limit, per)}}}", "value": round(value, 4)} for limit, per, value in expected
        ]}],
    }]}))  # fmt: skip
    status, said = promtool("test", "rules", path)
    assert status == 0, said


def test_what_no_vendor_stated_is_a_share_of_whole_answers(tmp_path):
    """Nothing but errors: no share at all; nothing but stated answers: 0."""
    series = {
        f'tollkeeper_usage_source_total{{upstream="{upstream}", source="{source}"}}': f"0+{count}x90"
        for upstream, counts in {
            "errors": {"none": 9, "partial": 9},
            "states": {"reported": 9, "none": 9},
            "silent": {"counted": 2, "estimated": 1, "none": 9},
            "both": {"reported": 3, "estimated": 1, "partial": 9},
        }.items()
        for source, count in counts.items()
    }
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [{"expr": not_stated("upstream", "1h"), "eval_time": "80m", "exp_samples": [
            {"labels": f'{{upstream="{upstream}"}}', "value": value} for upstream, value in (("states", 0), ("silent", 1), ("both", 0.25))
        ]}],
    }]}))  # fmt: skip
    status, said = promtool("test", "rules", path)
    assert status == 0, said


def test_promtool_has_no_objection_to_the_rules():
    status, said = promtool("check", "rules", "--lint=all", RULES)
    assert status == 0, said
    assert f"{len(RECORDINGS) + len(ALERTS)} rules found" in said
    status, said = promtool("check", "config", TARGET / "prometheus" / "prometheus.yml")
    assert status == 0, said


def test_the_runbook_has_a_section_for_each_alert_and_no_other():
    sections = re.findall(r"^### (Tollkeeper\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sections == [alert.name for alert in ALERTS], (
        "docs/runbook.md and tools/dashboards/rules.py differ: one section an alert, in its order"
    )


def test_the_documentation_lists_each_alert():
    listed = re.findall(
        r"^\| \[(Tollkeeper\w+)\]\(runbook\.md#(\w+)\) \| (\w+) \| (at once|\d+\w) \|$",
        (TARGET.parent / "docs" / "dashboards.md").read_text(),
        re.MULTILINE,
    )
    assert listed == [
        (
            alert.name,
            alert.name.lower(),
            alert.severity,
            "at once" if alert.lasts == "0m" else alert.lasts,
        )
        for alert in ALERTS
    ]


def test_each_alert_names_a_metric_that_exists_only_once_in_the_recordings():
    names = [rule.name for rule in RECORDINGS]
    assert len(set(names)) == len(names)
    said = " ".join(alert.expression for alert in ALERTS)
    unknown = set(re.findall(r"\b\w+:\w+:\w+\b", said)) - set(names)
    assert not unknown, "an alert goes by a recording that no rule makes"
