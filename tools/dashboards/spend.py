"""The dashboard Spend: who uses how much of which money, where it is going, and how sure the
numbers are."""

from __future__ import annotations

from tools.dashboards.grafana import Dashboard, Panel, Query, Row, Variable
from tools.dashboards.rules import not_stated

WHO = 'team=~"$team", key=~"$key", model=~"$model"'
MONEY = f'{WHO}, currency=~"$currency"'
TEAM = 'team=~"$team", currency=~"$currency"'
# Of the month so far, in days: the forecast divides by it. UTC, and never less than six hours,
# since a month's first requests forecast nothing.
ELAPSED_DAYS = "clamp_min(day_of_month() - 1 + hour() / 24 + minute() / 1440, 0.25)"

AN_HOUR = "currency units an hour"


def hourly(labels: str) -> Query:
    """Charge an hour at the present rate, by some labels."""
    return Query(
        f"sum by ({labels}, currency) (rate(tollkeeper_charge_total{{{MONEY}}}[$__rate_interval])) * 3600",
        f"{{{{{labels}}}}} {{{{currency}}}}",
    )


def tokens(labels: str) -> Query:
    return Query(
        f"sum by ({labels}) (rate(tollkeeper_input_tokens_total{{{WHO}}}[$__rate_interval])) + sum by ({labels}) (rate(tollkeeper_output_tokens_total{{{WHO}}}[$__rate_interval]))",
        f"{{{{{labels}}}}}",
    )


def top(labels: str, name: str) -> Query:
    return Query(
        f"topk(15, sum by ({labels}, currency) (increase(tollkeeper_charge_total{{{MONEY}}}[$__range])) > 0)",
        name,
    )


NOW = Row("Now", (
    Panel("Today", "Charged since midnight of the configured zone, from the ledger: what `tollkeeper usage` says, adjustments included.", "short", (
        Query(f'sum by (currency) (tollkeeper_period_charge{{{TEAM}, period="day"}})', "{{currency}}"),
    ), "stat", 4, 5, decimals=2),
    Panel("Month to date", "Charged since the first of the month in the configured zone, from the ledger.", "short", (
        Query(f'sum by (currency) (tollkeeper_period_charge{{{TEAM}, period="month"}})', "{{currency}}"),
    ), "stat", 4, 5, decimals=2, alert="TollkeeperBudgetBurningFast"),
    Panel("Forecast for the month", "Month to date, carried on evenly to the month's end (counted in UTC).", "short", (
        Query(f'sum by (currency) (tollkeeper_period_charge{{{TEAM}, period="month"}}) * scalar(days_in_month() / ({ELAPSED_DAYS}))', "{{currency}}"),
    ), "stat", 4, 5, decimals=2),
    Panel("Input from the cache", "Share of the input tokens that the vendors read from their caches, which most charge less for.", "percentunit", (
        Query(f"sum(rate(tollkeeper_cached_input_tokens_total{{{WHO}}}[$__rate_interval])) / sum(rate(tollkeeper_input_tokens_total{{{WHO}}}[$__rate_interval]))"),
    ), "stat", 4, 5),
    Panel("Stated by the vendors", "Share of the whole answers whose token counts the upstream stated itself; the rest is counted or estimated.", "percentunit", (
        Query("1 - " + not_stated("", "$__rate_interval", 'model=~"$model"')),
    ), "stat", 4, 5, warn=0.95, fail=0.8, alert="TollkeeperMuchEstimated"),
    Panel("Without a price", "Requests of the month so far that have no price now, from the ledger; `tollkeeper price check` names their models.", "short", (
        Query('sum(tollkeeper_period_unpriced_requests{team=~"$team", period="month"})'),
    ), "stat", 4, 5, warn=1, decimals=0, alert="TollkeeperUnpricedModel"),
))  # fmt: skip

CHARGE = Row("Charge", (
    Panel("Charge an hour, by team", "What each team is charged an hour at the present rate, in the currency that its line names.", "short", (hourly("team"),), stacked=True, axis=AN_HOUR, alert="TollkeeperBudgetBurningFast"),
    Panel("Charge an hour, by key", "The same by key.", "short", (hourly("key"),), stacked=True, axis=AN_HOUR),
    Panel("Charge an hour, by model", "The same by model.", "short", (hourly("model"),), stacked=True, axis=AN_HOUR),
    Panel("Cost and charge an hour", "What the vendors should bill us and what the teams pay, an hour.", "short", (
        Query(f"sum by (currency) (rate(tollkeeper_cost_total{{{MONEY}}}[$__rate_interval])) * 3600", "cost {{currency}}"),
        Query(f"sum by (currency) (rate(tollkeeper_charge_total{{{MONEY}}}[$__rate_interval])) * 3600", "charge {{currency}}"),
    ), axis=AN_HOUR),
))  # fmt: skip

TOP = Row("Who spends most", (
    Panel("Charge of teams, this month", "Charge of the month so far, from the ledger.", "short", (
        Query(f'topk(15, sum by (team, currency) (tollkeeper_period_charge{{{TEAM}, period="month"}}))', "{{team}} {{currency}}"),
    ), "bargauge", 8, 9, decimals=2, low=0),
    Panel("Charge of keys, in the period shown", "Charge by key. What came in the very first scrape of a new series is not seen by Prometheus; the ledger has it.", "short", (top("team, key", "charge"),), "table", 8, 9, decimals=4),
    Panel("Charge of models, in the period shown", "Charge by model, under the same condition.", "short", (top("model", "charge"),), "table", 8, 9, decimals=4),
))  # fmt: skip

TOKENS = Row("Tokens", (
    Panel("Tokens by team", "Input and output tokens a second.", "short", (tokens("team"),), stacked=True, width=8),
    Panel("Tokens by key", "Input and output tokens a second.", "short", (tokens("key"),), stacked=True, width=8),
    Panel("Tokens by model", "Input and output tokens a second.", "short", (tokens("model"),), stacked=True, width=8),
    Panel("Tokens of teams, this month", "Input and output tokens of the month so far, from the ledger.", "short", (
        Query('topk(15, sum by (team) (tollkeeper_period_tokens{team=~"$team", period="month"}))', "{{team}}"),
    ), "bargauge", 8, 8, low=0),
    Panel("Tokens of teams, today", "Input and output tokens since midnight, from the ledger.", "short", (
        Query('topk(15, sum by (team) (tollkeeper_period_tokens{team=~"$team", period="day"}))', "{{team}}"),
    ), "bargauge", 8, 8, low=0),
    Panel("Written to the cache", "Input tokens a second that the vendors wrote to their caches, which some charge more for.", "short", (
        Query(f"sum by (model) (rate(tollkeeper_cache_write_input_tokens_total{{{WHO}}}[$__rate_interval]))", "{{model}}"),
        Query(f"sum by (model) (rate(tollkeeper_cache_write_long_input_tokens_total{{{WHO}}}[$__rate_interval]))", "{{model}}, for an hour"),
    ), width=8),
))  # fmt: skip

TRUST = Row("How sure it is", (
    Panel("Where counts come from", "Requests a second by origin of their counts: reported by the vendor, counted with the model's vocabulary, estimated, partial, none.", "reqps", (
        Query('sum by (source) (rate(tollkeeper_usage_source_total{model=~"$model"}[$__rate_interval]))', "{{source}}"),
    ), stacked=True, width=8, alert="TollkeeperMuchEstimated"),
    Panel("Without a price, by model", "Requests a second whose cost was not known when they were booked: add a price, then `tollkeeper price rerate`.", "reqps", (
        Query('sum by (model) (rate(tollkeeper_unpriced_requests_total{model=~"$model"}[$__rate_interval]))', "{{model}}"),
    ), width=8, alert="TollkeeperUnpricedModel"),
    Panel("Answered by another model", "Requests a second that the vendor answered with another model than was asked for, and those whose numbers are in doubt: their records are flagged `inconsistent`.", "reqps", (
        Query("sum(rate(tollkeeper_model_substituted_total[$__rate_interval]))", "substituted"),
        Query('sum by (upstream) (rate(tollkeeper_inconsistent_total{model=~"$model"}[$__rate_interval])) > 0', "in doubt: {{upstream}}"),
    ), width=8),
))  # fmt: skip

DASHBOARD = Dashboard(
    "tollkeeper-spend", "Tollkeeper / Spend", "Who uses how much of which money, where it is going, and how sure the numbers are.", (NOW, CHARGE, TOP, TOKENS, TRUST),
    (
        Variable("team", "Team", "tollkeeper_input_tokens_total"), Variable("key", "Key", 'tollkeeper_input_tokens_total{team=~"$team"}'),
        Variable("model", "Model", "tollkeeper_input_tokens_total"), Variable("currency", "Currency", "tollkeeper_charge_total"),
    ),
    span="now-24h", refresh="1m",
)  # fmt: skip
