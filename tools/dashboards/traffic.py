"""The dashboard Traffic: is it working, how fast, and whose fault if not."""

from __future__ import annotations

from tools.dashboards.grafana import Dashboard, Panel, Query, Row, Variable

UP = 'upstream=~"$upstream"'
PAIR = 'upstream=~"$upstream", model=~"$model"'


def quantiles(metric: str, labels: str, *shares: int) -> list[Query]:
    """Of a histogram, all its series together."""
    return [
        Query(
            f"histogram_quantile(0.{share:02d}, sum by (le) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))",
            f"p{share}",
        )
        for share in shares
    ]


def quantile_by(label: str, metric: str, labels: str, share: int) -> Query:
    return Query(
        f"histogram_quantile(0.{share:02d}, sum by (le, {label}) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))",
        f"{{{{{label}}}}}",
    )


NOW = Row("Now", (
    Panel("Requests", "Requests a second that reached an upstream.", "reqps", (Query(f"sum(rate(tollkeeper_requests_total{{{PAIR}}}[$__rate_interval]))"),), "stat", 4, 5),
    Panel(
        "Answered with success", "Share of the requests that an upstream answered with a 2xx status.", "percentunit",
        (Query(f'sum(rate(tollkeeper_requests_total{{{PAIR}, code=~"2.."}}[$__rate_interval])) / sum(rate(tollkeeper_requests_total{{{PAIR}}}[$__rate_interval]))'),),
        "stat", 4, 5, warn=0.99, fail=0.95, alert="TollkeeperUpstreamErrors",
    ),
    Panel(
        "First byte, p95", "Nineteen of twenty answers begin within this time.", "s",
        tuple(quantiles("tollkeeper_time_to_first_byte_seconds", PAIR, 95)), "stat", 4, 5, warn=10, fail=30, alert="TollkeeperUpstreamSlow",
    ),
    Panel("Tokens", "Input and output tokens a second.", "short", (
        Query(f"sum(rate(tollkeeper_input_tokens_total{{{PAIR}}}[$__rate_interval])) + sum(rate(tollkeeper_output_tokens_total{{{PAIR}}}[$__rate_interval]))"),
    ), "stat", 4, 5),
    Panel("In flight", "Requests being served at this moment.", "short", (Query("sum(tollkeeper_inflight_requests)"),), "stat", 4, 5),
    Panel(
        "Own overhead, p99", "Time the proxy itself takes before a request goes out: reading, checking, counting the prompt.", "s",
        (Query('histogram_quantile(0.99, sum by (le) (rate(tollkeeper_overhead_seconds_bucket{phase="admit"}[$__rate_interval])))'),),
        "stat", 4, 5, warn=0.005, fail=0.01, alert="TollkeeperOverheadHigh",
    ),
))  # fmt: skip

REQUESTS = Row("What is asked", (
    Panel("By status", "Requests by the upstream's status; `none`: no answer came.", "reqps", (
        Query(f"sum by (code) (rate(tollkeeper_requests_total{{{PAIR}}}[$__rate_interval]))", "{{code}}"),
    ), stacked=True, alert="TollkeeperUpstreamErrors"),
    Panel("By ending", "How requests ended: completed, client_closed, upstream_failed, cut by a limit, interrupted, rejected_upstream.", "reqps", (
        Query(f"sum by (outcome) (rate(tollkeeper_requests_total{{{PAIR}}}[$__rate_interval]))", "{{outcome}}"),
    ), stacked=True),
    Panel("By model", "Requests by the model asked for.", "reqps", (Query(f"sum by (model) (rate(tollkeeper_requests_total{{{PAIR}}}[$__rate_interval]))", "{{model}}"),), stacked=True),
    Panel("What clients are sent", "Every answer on the data listener by status, refusals and health checks included; 499: the client had left.", "reqps", (
        Query("sum by (route, code) (rate(tollkeeper_http_requests_total[$__rate_interval]))", "{{route}} {{code}}"),
    ), stacked=True),
))  # fmt: skip

TIMES = Row("Times", (
    Panel("Whole answer", "From the request's head to the last byte of the answer.", "s", tuple(quantiles("tollkeeper_request_duration_seconds", PAIR, 50, 95, 99))),
    Panel("First byte", "From the request's head to the first byte of the answer: what a person waits for.", "s", tuple(quantiles("tollkeeper_time_to_first_byte_seconds", PAIR, 50, 95, 99)), alert="TollkeeperUpstreamSlow"),
    Panel("First byte by upstream, p95", "Which upstream is slow to begin.", "s", (quantile_by("upstream", "tollkeeper_time_to_first_byte_seconds", PAIR, 95),), alert="TollkeeperUpstreamSlow"),
    Panel("Time per output token, p50", "The pace of streams behind their first byte, by model: 0.05 s are 20 tokens a second.", "s", (quantile_by("model", "tollkeeper_time_per_output_token_seconds", PAIR, 50),)),
))  # fmt: skip

TOKENS = Row("Tokens and streams", (
    Panel("Tokens by kind", "Tokens a second, and searches. Cached ones are a part of the input, reasoning is a part of the output: do not add them.", "short", (*(
        Query(f"sum(rate(tollkeeper_{name}_tokens_total{{{PAIR}}}[$__rate_interval]))", legend)
        for name, legend in (("input", "input"), ("output", "output"), ("cached_input", "cached input"), ("reasoning_output", "reasoning"))
    ), Query(f"sum(rate(tollkeeper_searches_total{{{PAIR}}}[$__rate_interval])) > 0", "searches"))),
    Panel("In flight over time", "Requests being served, and those of them whose answer is a stream.", "short", (
        Query("sum by (instance) (tollkeeper_inflight_requests)", "requests {{instance}}"), Query("sum by (instance) (tollkeeper_inflight_streams)", "streams {{instance}}"),
    )),
))  # fmt: skip

UPSTREAMS = Row("Upstreams", (
    Panel("Failures", "Failures to reach an upstream or to hear it out, a second. `credentials`: it rejects the key that the proxy sends; `usage question`: it takes no question for a stream's usage.", "short", (
        Query(f"sum by (upstream, kind) (rate(tollkeeper_upstream_errors_total{{{UP}}}[$__rate_interval])) > 0", "{{upstream}} {{kind}}"),
        Query(f"sum by (upstream) (rate(tollkeeper_usage_questions_declined_total{{{UP}}}[$__rate_interval])) > 0", "{{upstream}} usage question"),
    ), alert="TollkeeperCredentialRejected"),
    Panel("Share of failed requests", "Of each upstream's requests: answered with 5xx, broken off, or not answered.", "percentunit", (
        Query(
            f'sum by (upstream) (rate(tollkeeper_requests_total{{{PAIR}, code=~"5..|none"}}[$__rate_interval]) or rate(tollkeeper_requests_total{{{PAIR}, code!~"5..|none", outcome="upstream_failed"}}[$__rate_interval]))'
            f" / sum by (upstream) (rate(tollkeeper_requests_total{{{PAIR}}}[$__rate_interval]))", "{{upstream}}",
        ),
    ), warn=0.01, fail=0.05, low=0, alert="TollkeeperUpstreamErrors"),
    Panel("Headroom", "What the upstream last said that it has left for us in the running period (x-ratelimit-remaining-…).", "short", (
        Query(f"min by (upstream, unit) (tollkeeper_upstream_ratelimit_remaining{{{UP}}})", "{{upstream}} {{unit}}"),
    ), low=0, alert="TollkeeperUpstreamLimitsUs"),
    Panel("Limited by the upstream", "Requests that the upstream answered with 429, a second.", "reqps", (
        Query(f'sum by (upstream) (rate(tollkeeper_requests_total{{{PAIR}, code="429"}}[$__rate_interval]))', "{{upstream}}"),
    ), alert="TollkeeperUpstreamLimitsUs"),
    Panel("Clients that left", "Clients that went before the end of their answer, a second, by what followed.", "short", (
        Query(f"sum by (upstream, policy) (rate(tollkeeper_client_gone_total{{{UP}}}[$__rate_interval]))", "{{upstream}} {{policy}}"),
    )),
    Panel("Own overhead by phase", "Time the proxy itself takes for a request, by phase.", "s", (
        Query('histogram_quantile(0.50, sum by (le, phase) (rate(tollkeeper_overhead_seconds_bucket[$__rate_interval])))', "{{phase}} p50"),
        Query('histogram_quantile(0.99, sum by (le, phase) (rate(tollkeeper_overhead_seconds_bucket[$__rate_interval])))', "{{phase}} p99"),
    ), warn=0.005, fail=0.01, alert="TollkeeperOverheadHigh"),
))  # fmt: skip

DASHBOARD = Dashboard(
    "tollkeeper-traffic", "Tollkeeper / Traffic", "Is it working, how fast, and whose fault if not.", (NOW, REQUESTS, TIMES, TOKENS, UPSTREAMS),
    (Variable("upstream", "Upstream", "tollkeeper_usage_source_total"), Variable("model", "Model", "tollkeeper_usage_source_total")),
)  # fmt: skip
