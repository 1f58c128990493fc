"""Every Prometheus metric, declared once: name, type, labels, unit and meaning.

A test holds `docs/metrics.md` equal to it.
"""

from __future__ import annotations

from proxy.metrics.health_definitions import HEALTH
from proxy.metrics.spec import Spec

PREFIX = "tollkeeper_"
DIMENSIONS = ("team", "key", "model", "upstream")
LIMIT = ("scope", "id", "limit")
LIMIT_STATE = (*LIMIT, "unit", "per")
PAIR = ("upstream", "model")


SPECS: tuple[Spec, ...] = (
    # Ledger-true: one increment per record, at the moment it is settled.
    Spec(
        "requests_total",
        "counter",
        (*DIMENSIONS, "code", "outcome"),
        "requests",
        "Requests that reached an upstream; code is the upstream's status, none if no head came.",
    ),
    Spec(
        "input_tokens_total", "counter", DIMENSIONS, "tokens", "Input tokens, cached ones included."
    ),
    Spec(
        "output_tokens_total", "counter", DIMENSIONS, "tokens", "Output tokens, reasoning included."
    ),
    Spec(
        "cached_input_tokens_total",
        "counter",
        DIMENSIONS,
        "tokens",
        "Input tokens read from the vendor's cache; a part of the input tokens.",
    ),
    Spec(
        "cache_write_input_tokens_total",
        "counter",
        DIMENSIONS,
        "tokens",
        "Input tokens written to the vendor's cache; a part of the input tokens.",
    ),
    Spec(
        "cache_write_long_input_tokens_total",
        "counter",
        DIMENSIONS,
        "tokens",
        "Those of them that are kept for an hour or longer.",
    ),
    Spec(
        "reasoning_output_tokens_total",
        "counter",
        DIMENSIONS,
        "tokens",
        "Output tokens spent on reasoning; a part of the output tokens.",
    ),
    Spec(
        "searches_total",
        "counter",
        DIMENSIONS,
        "searches",
        "Searches that the vendor made and bills beside the tokens.",
    ),
    Spec(
        "cost_total",
        "counter",
        (*DIMENSIONS, "currency"),
        "currency units",
        "What the vendor should bill; no sample for what has no price.",
    ),
    Spec(
        "charge_total",
        "counter",
        (*DIMENSIONS, "currency"),
        "currency units",
        "What the team pays; no sample for what has no price.",
    ),
    Spec(
        "unpriced_requests_total",
        "counter",
        ("model",),
        "requests",
        "Requests whose cost was not known when they were booked: no price row, no exchange rate "
        "yet, or counts that a price needs and nobody stated.",
    ),
    Spec(
        "model_substituted_total",
        "counter",
        (),
        "requests",
        "Requests that the vendor answered with another model than was asked for; a date, version "
        "or prefix in its name makes no other model.",
    ),
    Spec(
        "inconsistent_total",
        "counter",
        PAIR,
        "requests",
        "Requests whose record is flagged: the vendor's counts contradict each other, part of an "
        "answer could not be read, or its service tier is in doubt.",
    ),
    Spec(
        "usage_source_total",
        "counter",
        (*PAIR, "source"),
        "requests",
        "Requests by where their token counts came from: reported, counted, estimated, partial or "
        "none.",
    ),
    # The edge: what clients and upstreams experience.
    Spec(
        "http_requests_total",
        "counter",
        ("route", "code"),
        "requests",
        "Requests on the data listener by route template and the status sent, refusals included.",
    ),
    Spec(
        "refusals_total",
        "counter",
        ("team", "key", "code", "limit"),
        "requests",
        "Requests the proxy refused by error code; team and key are empty where the caller is not "
        "known, limit where no limit said no.",
    ),
    Spec(
        "request_duration_seconds",
        "histogram",
        PAIR,
        "seconds",
        "From the request's head to the last byte of the answer.",
    ),
    Spec(
        "time_to_first_byte_seconds",
        "histogram",
        PAIR,
        "seconds",
        "From the request's head to the first byte of the answer's body.",
    ),
    Spec(
        "time_per_output_token_seconds",
        "histogram",
        PAIR,
        "seconds",
        "Of streams: time after the first byte divided by the output tokens after the first.",
    ),
    Spec(
        "overhead_seconds",
        "histogram",
        ("phase",),
        "seconds",
        "Time the proxy itself took, by phase.",
    ),
    Spec("inflight_requests", "gauge", (), "requests", "Requests being served now."),
    Spec("inflight_streams", "gauge", (), "requests", "Streamed answers being relayed now."),
    Spec(
        "client_gone_total",
        "counter",
        ("upstream", "policy"),
        "requests",
        "Clients that left before the end of their answer, by what followed: stop, drain, no_room "
        "where the answer should have been read on and there was no place for it, or before_send "
        "where nothing had gone out.",
    ),
    Spec(
        "usage_questions_declined_total",
        "counter",
        ("upstream",),
        "requests",
        "Streams that an upstream took only without the question for their usage (stream_usage: "
        "inject); its model is not asked for ten minutes, by this key alone until three keys were "
        "refused.",
    ),
    Spec(
        "upstream_errors_total",
        "counter",
        ("upstream", "kind"),
        "errors",
        "Failures to reach an upstream or to hear it out, and answers under a 2xx status that "
        "fail (error_event), are none (no_answer) or state no use on a path that is metered by it "
        "(unmetered), by kind.",
    ),
    Spec(
        "upstream_ratelimit_remaining",
        "gauge",
        ("upstream", "unit"),
        "requests or tokens",
        "What an upstream last said that it has left for us (x-ratelimit-remaining-requests, "
        "-tokens; anthropic-ratelimit-…-remaining); no sample five minutes after.",
    ),
    Spec(
        "estimate_error_ratio",
        "gauge",
        ("model",),
        "ratio",
        "Estimated over stated tokens, minus one, of the answers that state theirs and were "
        "counted too.",
    ),
    # Limits: scope is proxy, upstream, team or key; id is whose limit it is, empty for the proxy's;
    # limit is its name, or what it limits;
    # unit is tokens, requests … or a currency; per is second … month or total, empty for concurrent
    # requests.
    Spec(
        "limit_amount",
        "gauge",
        LIMIT_STATE,
        "the limit's unit",
        "What a limit allows in its period, credits included; money in currency units.",
    ),
    Spec(
        "limit_used",
        "gauge",
        LIMIT_STATE,
        "the limit's unit",
        "What is used of it in the running period; of a rate, what has not flowed off yet.",
    ),
    Spec(
        "limit_held",
        "gauge",
        LIMIT_STATE,
        "the limit's unit",
        "What running requests may still use of it; of a rate that is part of what is used.",
    ),
    Spec(
        "limit_values",
        "gauge",
        LIMIT,
        "values",
        "Values that a limit with `per` counts apart, at most quota.values_max and one more. Its "
        "other figures are those of its fullest value.",
    ),
    Spec(
        "limit_values_shared",
        "gauge",
        LIMIT,
        "boolean",
        "1 if a limit has more values than quota.values_max: further ones share one count.",
    ),
    Spec(
        "limit_reset_timestamp_seconds",
        "gauge",
        LIMIT_STATE,
        "Unix seconds",
        "When all of it is there again if nothing more is used; no sample for totals and for "
        "concurrent requests.",
    ),
    Spec(
        "limit_crossings_total",
        "counter",
        (*LIMIT, "share"),
        "crossings",
        "Times that use has reached a share of warn_at, once in each period; 1 where a budget was "
        "used up, or a rate that only warns was exceeded.",
    ),
    Spec(
        "strict_breaches_total",
        "counter",
        LIMIT,
        "requests",
        "Requests that used more of a strict limit than they could be bounded by: the vendor "
        "billed beyond its cap, or a dearer model answered.",
    ),
    # Of the ledger: what `tollkeeper usage` says, also after a restart.
    Spec(
        "period_charge",
        "gauge",
        ("team", "period", "currency"),
        "currency units",
        "What a team was charged this day or month so far, in the configured zone; read from the "
        "ledger, adjustments included.",
    ),
    Spec(
        "period_unpriced_requests",
        "gauge",
        ("team", "period"),
        "requests",
        "Requests of a team this day or month so far that have no price now; read from the "
        "ledger, adjustments included.",
    ),
    Spec(
        "period_tokens",
        "gauge",
        ("team", "period"),
        "tokens",
        "Input and output tokens of a team this day or month so far, in the configured zone; read "
        "from the ledger.",
    ),
    *HEALTH,
)
