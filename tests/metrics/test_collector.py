"""What is counted, under which labels, and that a scrape can run beside the counting."""

from __future__ import annotations

import sys
from types import FrameType

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.config.settings import MetricsSettings
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Scope, limit_of
from proxy.core.limits.state import LimitState
from proxy.core.usage import Outcome, Source, UsageRecord
from proxy.metrics.collector import MODELS_LEARNED_MAX, Metrics
from proxy.metrics.definitions import PREFIX, SPECS
from proxy.metrics.histogram import Histogram


def metrics(**settings: object) -> Metrics:
    return Metrics(MetricsSettings(**settings), "1.2.3")


def record(**changes: object) -> UsageRecord:
    values = {
        "id": "id",
        "writer": "w0",
        "started_at_ms": 0,
        "duration_ms": 10,
        "key_id": "alice",
        "team": "research",
        "endpoint": "/v1/chat/completions",
        "upstream": "up",
        "model_requested": "m",
        "status": 200,
        "outcome": Outcome.COMPLETED,
        "input_tokens": 10,
        "output_tokens": 20,
        "input_source": Source.REPORTED,
        "output_source": Source.REPORTED,
        "source": Source.REPORTED,
    }
    return UsageRecord(**{**values, **changes})


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name: label values in the declared order -> value."""
    spec = next(spec for spec in SPECS if name.startswith(spec.name))
    lines = [
        line
        for line in metrics.render().decode().splitlines(keepends=True)
        if PREFIX + spec.name in line
    ]
    found = {}
    for family in text_string_to_metric_families("".join(lines)):
        for sample in family.samples:
            if sample.name == PREFIX + name:
                labels = tuple(sample.labels[label] for label in spec.labels)
                assert labels not in found, f"{name}{labels} is exported twice"
                found[labels] = sample.value
    return found


def test_each_record_is_one_increment_of_each_ledger_series():
    counted = metrics()
    counted.record(
        record(
            cached_tokens=4,
            cache_write_tokens=2,
            reasoning_tokens=5,
            cost_nano=1_500_000_001,
            charge_nano=3,
            currency="USD",
        )
    )
    counted.record(record(input_tokens=1, output_tokens=0, cost_nano=7, currency="USD"))
    counted.record(
        record(
            status=None,
            outcome=Outcome.UPSTREAM_FAILED,
            source=Source.NONE,
            input_tokens=None,
            output_tokens=None,
            cost_nano=9,
            currency="CNY",
        )
    )
    labels = ("research", "alice", "m", "up")
    assert samples(counted, "requests_total") == {
        (*labels, "200", "completed"): 2,
        (*labels, "none", "upstream_failed"): 1,
    }
    assert {name: samples(counted, name)[labels] for name in TOKENS} == dict(
        zip(TOKENS, (11, 20, 4, 2, 5), strict=True)
    )
    assert samples(counted, "charge_total") == {(*labels, "USD"): 3e-9}
    assert samples(counted, "cost_total") == {(*labels, "USD"): 1.500000008, (*labels, "CNY"): 9e-9}
    sources = {
        labels[2]: value
        for labels, value in samples(counted, "usage_source_total").items()
        if value
    }
    assert sources == {"reported": 2, "none": 1}


def test_money_is_added_up_in_integers_and_divided_once():
    counted = metrics()
    for _ in range(1_000):
        counted.record(record(cost_nano=100_000_001, charge_nano=2**53 + 1, currency="USD"))
    [cost] = samples(counted, "cost_total").values()
    [charge] = samples(counted, "charge_total").values()
    assert sum([0.100000001] * 1_000) != 100.000001, (
        "this amount does not tell a sum of floats from one of integers"
    )
    assert (cost, charge) == (100.000001, (2**53 + 1) * 1_000 / 10**9)


def test_what_has_no_price_is_counted_by_model_and_another_model_than_was_asked_for_at_all():
    counted = metrics()
    counted.configured(["dear", "m"])
    counted.record(record(cost_nano=None))
    counted.record(record(cost_nano=None, upstream="other", status=500))
    counted.record(record(cost_nano=None, model_requested="made up", status=404))
    counted.record(
        record(cost_nano=0, currency="USD", model_requested="dear", model_served="dear-2026-01-01")
    )
    counted.record(
        record(cost_nano=0, currency="USD", model_requested="dear", model_served="cheap")
    )
    assert samples(counted, "unpriced_requests_total") == {("m",): 2, ("other",): 1}
    assert samples(counted, "model_substituted_total") == {(): 1}
    counted.configured(["dear"], {"up": {"dear": "cheap"}})
    for upstream in ("up", "other"):
        counted.record(
            record(cost_nano=0, upstream=upstream, model_requested="dear", model_served="cheap-v2")
        )
    assert samples(counted, "model_substituted_total") == {(): 2}, "it is an alias at `up` alone"


def test_flagged_records_are_counted_by_upstream_and_model():
    counted = metrics()
    for changes in (
        {"inconsistent": True},
        {},
        {"inconsistent": True},
        {"inconsistent": True, "upstream": "down"},
        {"upstream": "fine"},
    ):
        counted.record(record(**changes))
    assert samples(counted, "inconsistent_total") == {
        ("up", "m"): 2,
        ("down", "m"): 1,
        ("fine", "m"): 0,
    }


TOKENS = (
    "input_tokens_total",
    "output_tokens_total",
    "cached_input_tokens_total",
    "cache_write_input_tokens_total",
    "reasoning_output_tokens_total",
)


def test_what_is_not_known_has_no_sample_and_an_unknown_team_is_empty():
    counted = metrics()
    counted.record(record(team=None, model_requested=None))
    assert list(samples(counted, "requests_total")) == [("", "alice", "", "up", "200", "completed")]
    assert (
        samples(counted, "cost_total")
        == samples(counted, "ledger_lag_seconds")
        == samples(counted, "key_expiry_timestamp_seconds")
        == {}
    )


@pytest.mark.parametrize(
    ("model", "status", "configured", "label"),
    [
        ("m", 404, (), "other"),  # any client can make up a name
        ("m", None, (), "other"),
        ("m", 404, ("m",), "m"),  # named literally
        ("m", 404, ("m*", "[m]", "?"), "other"),  # a wildcard names nobody
        ("*", 404, ("*",), "other"),
        ("m", 200, (), "m"),  # has answered
        ("m", 299, (), "m"),
        ("m", 300, (), "other"),
        ("m\n", 200, (), "other"),  # may not be printed
        ("m" * 129, 200, (), "other"),
        ("\ud800", 200, (), "other"),  # UTF-8 cannot carry it, so that it would cost the whole page
        ("\ud800", 404, ("\ud800",), "other"),
    ],
)
def test_which_models_become_a_label(model, status, configured, label):
    counted = metrics()
    counted.configured(configured)
    counted.record(record(model_requested=model, status=status))
    counted.timing("up", model, 1.0, None, None)
    assert {labels[2] for labels in samples(counted, "requests_total")} == {label}
    assert samples(counted, "request_duration_seconds_count")["up", label] == 1


def test_a_model_is_a_label_from_its_first_answer_on():
    counted = metrics()
    for status in (500, 200, 500):
        counted.record(record(status=status))
    assert {
        (labels[2], labels[4]): value
        for labels, value in samples(counted, "requests_total").items()
    } == {
        ("other", "500"): 1,
        ("m", "200"): 1,
        ("m", "500"): 1,
    }


def test_the_models_learned_from_answers_are_bounded():
    counted = metrics()
    for number in range(MODELS_LEARNED_MAX + 5):
        counted.record(record(model_requested=f"m{number}"))
    models = {labels[2] for labels in samples(counted, "requests_total")}
    assert len(models) == MODELS_LEARNED_MAX + 1
    assert "other" in models
    assert samples(counted, "series_dropped_total") == {(): 5}


def test_beyond_max_series_new_combinations_fold_into_other_and_sums_stay_true():
    counted = metrics(max_series=3)
    for number in range(10):
        counted.record(record(key_id=f"k{number}"))
        counted.record(record(key_id=f"k{number}"))
        counted.refused("research", f"k{number}", "model_not_found")
        counted.timing("up", f"m{number}", 1.0, None, None)
    requests = samples(counted, "requests_total")
    assert {labels[1]: value for labels, value in requests.items()} == {
        "k0": 2,
        "k1": 2,
        "k2": 2,
        "other": 14,
    }
    assert {labels[:4] for labels in requests if labels[1] == "other"} == {
        ("research", "other", "other", "up")
    }
    assert sum(samples(counted, "input_tokens_total").values()) == 200
    assert samples(counted, "refusals_total") == {
        **{("research", f"k{number}", "model_not_found", ""): 1 for number in range(3)},
        ("research", "other", "model_not_found", ""): 7,
    }
    assert samples(counted, "series_dropped_total")[()] == 14 + 7


def test_a_refusal_has_the_limit_that_said_no_and_made_up_keys_stay_bounded():
    counted = metrics(max_series=2)
    for number in range(5):
        counted.refused(None, f"fwd-{number}", "rate_limit_exceeded", f"key:fwd-{number}/x/minute")
    counted.refused("research", "alice", "insufficient_quota", "soft-day")
    assert samples(counted, "refusals_total") == {
        ("", "fwd-0", "rate_limit_exceeded", "key:fwd-0/x/minute"): 1,
        ("", "fwd-1", "rate_limit_exceeded", "key:fwd-1/x/minute"): 1,
        ("", "other", "rate_limit_exceeded", "key/x/minute"): 3,
        ("research", "other", "insufficient_quota", "soft-day"): 1,
    }


def test_what_is_folded_is_counted_each_time_and_takes_no_memory():
    counted = metrics(max_series=2)
    counted.record(record(model_requested="made up", status=404))
    counted.record(record())
    for number in range(20):
        counted.record(record(model_requested=f"m{number}"))
        counted.record(record(model_requested=f"m{number}"))
    assert samples(counted, "series_dropped_total") == {(): 40}
    counted = metrics(max_series=2, labels=("team",))
    for number in range(20):
        counted.record(record(key_id=f"k{number}"))
        counted.timing(f"up{number}", "m", 1.0, None, None)
    assert samples(counted, "series_dropped_total") == {(): 0}
    assert len(counted._row_of) == len(counted._pair_of) == 2, (
        "the short cuts are bounded too: under auth: forward clients choose the keys"
    )


def test_a_label_left_out_in_the_settings_is_empty_and_added_up():
    counted = metrics(labels=("team", "upstream"))
    for key in ("alice", "bob"):
        counted.record(record(key_id=key))
        counted.refused("research", key, "overloaded")
    assert samples(counted, "requests_total") == {("research", "", "", "up", "200", "completed"): 2}
    assert samples(counted, "refusals_total") == {("research", "", "overloaded", ""): 2}
    assert list(samples(counted, "request_duration_seconds_count")) == [("up", "")]


@pytest.mark.parametrize(
    ("first_byte_s", "output_tokens", "per_token_s"),
    [(1.0, 21, 0.1), (1.0, 1, None), (1.0, 0, None), (1.0, None, None), (None, 21, None)],
)
def test_time_per_token_is_of_the_tokens_after_the_first(first_byte_s, output_tokens, per_token_s):
    counted = metrics()
    counted.configured(["m"])
    counted.timing("up", "m", 3.0, first_byte_s, output_tokens)
    assert samples(counted, "request_duration_seconds_sum") == {("up", "m"): 3.0}
    assert samples(counted, "time_to_first_byte_seconds_count")["up", "m"] == (
        first_byte_s is not None
    )
    assert samples(counted, "time_per_output_token_seconds_count")["up", "m"] == (
        per_token_s is not None
    )
    if per_token_s is not None:
        assert samples(counted, "time_per_output_token_seconds_sum")["up", "m"] == pytest.approx(
            per_token_s
        )


def test_edge_and_health_series():
    counted = metrics()
    counted.watch_key_expiries(lambda: {"alice": 1_800_000_000_500})
    counted.http("/v1/chat/completions", 200)
    counted.http("/v1/chat/completions", 200)
    counted.refused(None, None, "invalid_api_key")
    counted.overhead("admission", 0.0002)
    counted.inflight(1, 0)
    counted.inflight(1, 1)
    counted.inflight(-1, 0)
    counted.client_gone("up", "drain")
    counted.question_declined("up")
    counted.upstream_error("up", "connect")
    counted.recovered(3)
    counted.reload(False)
    assert {
        name: samples(counted, name)
        for name in (
            "http_requests_total",
            "refusals_total",
            "overhead_seconds_count",
            "inflight_requests",
            "inflight_streams",
            "client_gone_total",
            "usage_questions_declined_total",
            "upstream_errors_total",
            "recovered_total",
            "config_last_reload_successful",
            "key_expiry_timestamp_seconds",
            "build_info",
        )
    } == {
        "http_requests_total": {("/v1/chat/completions", "200"): 2},
        "refusals_total": {("", "", "invalid_api_key", ""): 1},
        "overhead_seconds_count": {("admission",): 1},
        "inflight_requests": {(): 1},
        "inflight_streams": {(): 1},
        "client_gone_total": {("up", "drain"): 1},
        "usage_questions_declined_total": {("up",): 1},
        "upstream_errors_total": {("up", "connect"): 1},
        "recovered_total": {(): 3},
        "config_last_reload_successful": {(): 0},
        "key_expiry_timestamp_seconds": {("alice",): 1_800_000_000.5},
        "build_info": {("1.2.3",): 1},
    }
    counted.reload(True)
    assert samples(counted, "config_last_reload_successful") == {(): 1}


def test_watched_values_are_read_at_the_scrape_and_one_that_fails_is_left_out():
    counted = metrics()
    read = iter([1, 2])
    counted.watch("journal_bytes", lambda: next(read))
    counted.watch("ledger_lag_seconds", lambda: None)

    def gone() -> int:
        raise FileNotFoundError("data_dir")

    counted.watch("data_dir_free_bytes", gone)
    writes = Histogram((0.001,))
    counted.watch_histogram("journal_write_seconds", writes.snapshot)
    writes.observe(0.5)
    assert samples(counted, "journal_bytes") == {(): 1}
    assert samples(counted, "journal_bytes") == {(): 2}
    counted.watch("journal_bytes", lambda: 3)
    assert samples(counted, "ledger_lag_seconds") == samples(counted, "data_dir_free_bytes") == {}
    assert samples(counted, "journal_write_seconds_count") == {(): 1}
    with pytest.raises(AssertionError, match="add it to SPECS"):
        counted.watch("journal_bites", lambda: 1)


def test_the_whole_page_is_valid_and_every_metric_is_fed_by_some_method():
    counted = metrics()
    counted.record(record(cost_nano=1, charge_nano=1, currency="USD"))
    counted.record(record())
    counted.http("r", 200)
    counted.refused(None, None, "c")
    counted.overhead("p", 0.1)
    counted.client_gone("up", "stop")
    counted.question_declined("up")
    counted.upstream_error("up", "k")
    counted.watch_key_expiries(lambda: {"k": 1})
    limit = limit_of(parse("9 tokens/day per end_user"), Scope.KEY, "alice")
    counted.limits.show([LimitState(limit=limit, amount=9, used=1, remaining=8, resets_at_ms=1)])
    counted.limits.crossing(limit, 800_000)
    counted.limits.breach(limit, 1)
    families = {
        family.name: family for family in text_string_to_metric_families(counted.render().decode())
    }
    assert len(families) == len(SPECS), "each metric is one family of the page"
    watched = {
        spec.name
        for spec in SPECS
        if not families[PREFIX + spec.name.removesuffix("_total")].samples
    }
    assert watched == {
        "journal_bytes",
        "journal_open_exchanges",
        "journal_failures_total",
        "journal_write_seconds",
        "ledger_lag_seconds",
        "ledger_backlog_records",
        "ledger_failures_total",
        "ledger_head_seq",
        "ledger_head_hash",
        "quota_failures_total",
        "data_dir_free_bytes",
        "estimate_error_ratio",
        "prices_updated_timestamp_seconds",
        "upstream_ratelimit_remaining",
        "period_charge",
        "period_tokens",
        "period_unpriced_requests",
        "notifications_total",
        "instances",
        "keys_silent_seconds",
        "keys_version",
        "keys_version_ledger",
        "lapsed_holds",
        "lapsed_holds_age_seconds",
        "quota_epochs_total",
        "quota_build_seconds",
        "quota_partial_seconds",
        "quota_waiting",
    }


def test_what_is_booked_later_is_no_missing_price() -> None:
    counted = metrics()
    counted.record(record(reason="later"))
    assert counted.unpriced() == {}
    counted.record(record(upstream="up"))
    [(pair, count)] = counted.unpriced().items()
    assert pair[0] == "up" and count == 1


def test_errors_of_a_kind_are_told_by_upstream() -> None:
    counted = metrics()
    for kind in ("credentials", "reset", "credentials"):
        counted.upstream_error("up", kind)
    assert counted.upstream_errors("credentials") == {"up": 2}


def test_counting_goes_on_while_a_page_is_collected():
    """As a thread may be interrupted anywhere, the first sample of each metric is interrupted here:
    by one more entry in every table."""
    counted = metrics()
    interrupted: set[str] = set()
    made = 0

    def count() -> None:
        nonlocal made
        made += 1
        counted.record(
            record(status=200 + made, currency=f"C{made}", cost_nano=1, charge_nano=1)
        )  # in a row that is there
        counted.record(record(key_id=f"k{made}", upstream=f"up{made}"))
        counted.refused("t", f"k{made}", "c")
        counted.http(f"/r{made}", 200)
        counted.client_gone(f"up{made}", "stop")
        counted.upstream_error(f"up{made}", "connect")
        counted.overhead(f"p{made}", 0.1)

    def interrupt(frame: FrameType, event: str, _argument: object) -> None:
        if (
            event == "call"
            and frame.f_code.co_name == "add_metric"
            and (name := frame.f_locals["self"].name) not in interrupted
        ):
            interrupted.add(name)
            count()

    count()
    sys.setprofile(interrupt)
    try:
        list(counted.collect())
    finally:
        sys.setprofile(None)
    assert made > 20, "prometheus_client takes samples by another name than add_metric"
    assert sum(samples(counted, "requests_total").values()) == 2 * made
    assert sum(samples(counted, "refusals_total").values()) == made
