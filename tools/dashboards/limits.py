"""The dashboard Limits: who is near a limit, who was refused, and when it runs out."""

from __future__ import annotations

from tools.dashboards.grafana import Dashboard, Panel, Query, Row, Variable

WHICH = 'scope=~"$scope", id=~"$id"'
BUDGET = f'{WHICH}, per=~"day|week|month|total"'
# A limit stands once, whichever instance tells of it.
BY = "scope, id, limit, unit, per"


def count(name: str, labels: str = WHICH) -> str:
    return f"max by ({BY}) (tollkeeper_limit_{name}{{{labels}}})"


def share(labels: str = WHICH) -> str:
    """Of each limit, the part that is used or held. Of a rate, what is held is a part of what is
    used."""
    held = count("held", labels + ', per=~"day|week|month|total"')
    return f"(({count('used', labels)} + {held}) or {count('used', labels)}) / ({count('amount', labels)} > 0)"


def lacking() -> str:
    """Of each budget, the share of the time to its reset without any of it; 1 where it is used
    up."""
    left = f"clamp_min({count('amount', BUDGET)} - {count('used', BUDGET)} - {count('held', BUDGET)}, 0)"
    pace = f"(max by ({BY}) (deriv(tollkeeper_limit_used{{{BUDGET}}}[1h])) > 0)"
    resets = f"clamp_min({count('reset_timestamp_seconds', BUDGET)} - time(), 1)"
    span = f"({resets} or {count('amount', BUDGET)} * 0 + 30 * 86400)"
    return f"((({left} == 0) + 1) or (1 - {left} / {pace} / {span} > 0))"


NOW = Row("Now", (
    Panel("Limits at 80 % and more", "Limits of which at least four fifths are used or held.", "short", (Query(f"count({share()} >= 0.8) or vector(0)"),), "stat", 6, 5, warn=1, decimals=0, alert="TollkeeperBudgetAt80"),
    Panel("Budgets used up", "Limits of a day, week, month or in total of which nothing is left.", "short", (Query(f"count({share(BUDGET)} >= 1) or vector(0)"),), "stat", 6, 5, warn=1, fail=5, decimals=0, alert="TollkeeperBudgetAt95"),
    Panel("Refused by limits", "Requests a second answered with 429 by the proxy.", "reqps", (
        Query('sum(rate(tollkeeper_refusals_total{code=~"rate_limit_exceeded|insufficient_quota"}[$__rate_interval])) or vector(0)'),
    ), "stat", 6, 5, alert="TollkeeperRefusalsSurge"),
    Panel("Beyond a strict bound", "Requests of the period shown that used more than the bound they were let through with: a vendor ignored a cap, or answered from a dearer model.", "short", (
        Query(f"sum(increase(tollkeeper_strict_breaches_total{{{WHICH}}}[$__range])) or vector(0)"),
    ), "stat", 6, 5, fail=1, decimals=0, alert="TollkeeperStrictBreach"),
))  # fmt: skip

NEAR = Row("Who is near", (
    Panel("Fullest limits", "The twenty limits of which the largest share is used or held.", "percentunit", (
        Query(f"topk(20, {share()})", "{{limit}}"),
    ), "bargauge", 12, 12, warn=0.8, fail=0.95, low=0, high=1, alert="TollkeeperBudgetAt80"),
    Panel("Budgets that run out before they reset", "For which share of the time to its reset a budget will have nothing left, at the pace of the last hour; 100 %: it is used up. A total, which never resets, is taken for the next 30 days.", "percentunit", (
        Query(f"topk(20, {lacking()})", "{{limit}}"),
    ), "bargauge", 12, 12, warn=0.5, fail=0.9, low=0, high=1, alert="TollkeeperBudgetBurningFast"),
    Panel("Each limit", "Amount with credits, used, held, and the time to its reset, in the limit's unit; how many values a limit with `per` counts apart, and whether more share one count (1).", "short", (
        Query(count("amount"), "amount"), Query(count("used"), "used"), Query(count("held"), "held"), Query(f"clamp_min({count('reset_timestamp_seconds')} - time(), 0)", "resets in (s)"), Query(f"max by (scope, id, limit) (tollkeeper_limit_values{{{WHICH}}})", "values"), Query(f"max by (scope, id, limit) (tollkeeper_limit_values_shared{{{WHICH}}})", "shared"),
    ), "table", 24, 10, hidden=("scope", "id"), alert="TollkeeperLimitValuesShared"),
))  # fmt: skip

OVER_TIME = Row("Over time", (
    Panel("Used and held", "The share of each limit that is used or held; the twelve fullest.", "percentunit", (Query(f"topk(12, {share()})", "{{limit}}"),), warn=0.8, fail=0.95, low=0, alert="TollkeeperBudgetAt80"),
    Panel("Held", "The share that running requests hold and may give back; the twelve largest.", "percentunit", (Query(f"topk(12, {count('held')} / ({count('amount')} > 0))", "{{limit}}"),), low=0),
    Panel("Refusals by reason", "Requests a second that the proxy refused, by its error code.", "reqps", (Query("sum by (code) (rate(tollkeeper_refusals_total[$__rate_interval])) > 0", "{{code}}"),), stacked=True, alert="TollkeeperQuotaAway"),
    Panel("Refusals by key", "Requests a second that the proxy refused, by key, error code and the limit that said no; the ten most frequent.", "reqps", (
        Query("topk(10, sum by (team, key, code, limit) (rate(tollkeeper_refusals_total[$__rate_interval])) > 0)", "{{team}} {{key}} {{code}} {{limit}}"),
    ), alert="TollkeeperRefusalsSurge", opens=False),
    Panel("Warnings", "How often a limit was used up to a share at which it warns (warn_at), or a budget wholly, in the period shown.", "short", (
        Query(f"sum by (limit, share) (increase(tollkeeper_limit_crossings_total{{{WHICH}}}[$__range])) > 0", "crossings"),
    ), "table", 24, 8, decimals=0),
))  # fmt: skip

DASHBOARD = Dashboard(
    "tollkeeper-limits", "Tollkeeper / Limits", "Who is near a limit, who was refused, and when it runs out.", (NOW, NEAR, OVER_TIME),
    (Variable("scope", "Scope", "tollkeeper_limit_amount"), Variable("id", "Of", 'tollkeeper_limit_amount{scope=~"$scope"}')),
)  # fmt: skip
