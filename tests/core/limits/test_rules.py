"""Which limits hold for whom, and which a config may not state."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.limits import rules_of
from proxy.config.loader import ConfigError, load
from proxy.config.settings import (
    Defaults,
    KeySettings,
    LimitDefaults,
    LimitSettings,
    Settings,
    UpstreamSettings,
)
from proxy.core.calendar import Per
from proxy.core.limits import rules
from proxy.core.limits.limit import Enforce
from proxy.core.limits.rules import Rules

HEAD = """
upstreams: {v: {base_url: "http://v/v1", api_key: k, limits: ["9 concurrent", "50 requests/second for o3-*"]}, w: {base_url: "http://w/v1", api_key: k}}
routes: [{model: "*", upstream: v}]
"""
CONFIG = (
    HEAD
    + """
limits: ["1_000 USD/month"]
defaults: {team: {limits: ["100 USD/month"]}, key: {limits: ["60 requests/minute", {limit: "5 tokens/day for gpt-*", name: soft, enforce: warn, warn_at: [80%, 99.5%]}]}}
teams: {red: {}, blue: {limits: ["7 USD/day", {limit: "3 requests/hour", name: slow, burst: 2, enforce: strict}]}, free: {limits: []}}
keys:
  alice: {team: red, secret: a}
  bob: {team: blue, secret: b, limits: ["8 concurrent"]}
  carol: {secret: c, limits: []}
  dave: {team: free, secret: d}
"""
)
# key      team  upstream model    the limits, by identity
TABLE = """
alice      red   v        gpt-4o   proxy/USD/month upstream:v/concurrent team:red/USD/month key:alice/requests/minute key:alice/soft
alice      red   v        o3-mini  proxy/USD/month upstream:v/concurrent upstream:v/requests/second/o3-* team:red/USD/month key:alice/requests/minute
alice      red   w        o3-mini  proxy/USD/month team:red/USD/month key:alice/requests/minute
alice      red   v        -        proxy/USD/month upstream:v/concurrent team:red/USD/month key:alice/requests/minute
bob        blue  w        gpt-4o   proxy/USD/month team:blue/USD/day slow key:bob/concurrent
carol      -     w        gpt-4o   proxy/USD/month
dave       free  w        gpt-4o   proxy/USD/month key:dave/requests/minute key:dave/soft
fwd-1      -     w        gpt-4o   proxy/USD/month key:fwd-1/requests/minute key:fwd-1/soft
fwd-2      -     gone     GPT-4o   proxy/USD/month key:fwd-2/requests/minute key:fwd-2/soft
"""


def made(tmp_path: Path, text: str) -> Rules:
    (tmp_path / "config.yaml").write_text(text)
    return rules_of(load(tmp_path / "config.yaml", {}).settings)


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_which_limits_hold(tmp_path: Path, line: str) -> None:
    key_id, team, upstream, model, *ids = line.split()
    compiled = made(tmp_path, CONFIG)
    for _ in range(2):  # found, and remembered
        limits = compiled.limits_for(
            key_id, None if team == "-" else team, upstream, None if model == "-" else model
        )
        assert [limit.id for limit in limits] == ids


@pytest.mark.parametrize(
    ("key_id", "team", "ids"),
    [
        ("alice", "red", ["proxy/USD/month", "team:red/USD/month", "key:alice/requests/minute"]),
        ("carol", None, ["proxy/USD/month"]),
        ("fwd-1", None, ["proxy/USD/month", "key:fwd-1/requests/minute"]),
    ],
)
def test_which_limits_hold_whatever_is_called(
    tmp_path: Path, key_id: str, team: str | None, ids: list[str]
) -> None:
    assert [limit.id for limit in made(tmp_path, CONFIG).of_any_call(key_id, team)] == ids


def test_what_a_limit_says_of_itself(tmp_path: Path) -> None:
    compiled = made(tmp_path, CONFIG)
    slow = compiled.limits_for("bob", "blue", "w", "x")[2]
    assert (slow.amount, slow.burst, slow.enforce, slow.scope, slow.scope_id) == (
        3,
        2,
        Enforce.STRICT,
        "team",
        "blue",
    )
    soft = compiled.limits_for("alice", "red", "w", "gpt-5")[-1]
    assert (soft.enforce, soft.warn_at_ppm, soft.models) == (
        Enforce.WARN,
        (800_000, 995_000),
        ("gpt-*",),
    )
    assert [limit.id for limit in compiled.configured()] == [
        "proxy/USD/month",
        "upstream:v/concurrent",
        "upstream:v/requests/second/o3-*",
        "team:red/USD/month",
        "team:blue/USD/day",
        "slow",
        "key:alice/requests/minute",
        "key:alice/soft",
        "key:bob/concurrent",
        "key:dave/requests/minute",
        "key:dave/soft",
    ]


def test_no_limits_are_none(tmp_path: Path) -> None:
    assert made(tmp_path, HEAD).limits_for("fwd-1", None, "w", "gpt-4o") == ()


def test_names_that_clients_make_up_fill_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "REMEMBERED_MAX", 50)
    compiled = made(tmp_path, CONFIG)
    for number in range(400):
        assert len(compiled.limits_for(f"fwd-{number}", None, "v", f"o3-{number}")) == 4
        assert len(compiled.limits_for("alice", "red", "v", f"gpt-{number}")) == 5
    assert max(map(len, (compiled._strangers, compiled._callers, compiled._found))) <= 50


def test_whose_limits_are_gone(tmp_path: Path) -> None:
    before, after = (
        made(tmp_path, CONFIG),
        made(tmp_path, HEAD + 'defaults: {key: {limits: ["60 requests/minute"]}}'),
    )
    strangers = before.limits_for("fwd-1", None, "w", "gpt-5")
    assert before.without((*before.configured(), *strangers)) == []
    everything = {limit.id for limit in (*before.configured(), *strangers)}
    kept = everything - {limit.id for limit in after.without((*before.configured(), *strangers))}
    of_everybody = {
        limit
        for limit in everything
        if limit.startswith("key:") and limit.endswith("/requests/minute")
    }
    assert (
        kept == {"upstream:v/concurrent", "upstream:v/requests/second/o3-*"} | of_everybody
        and "key:fwd-1/requests/minute" in of_everybody
    )
    assert before.identities() - after.identities() and after.identities() - made(
        tmp_path, HEAD
    ).identities() == {"key/requests/minute"}


@pytest.mark.parametrize(
    ("text", "back_ms"),
    [
        ("", 2_000),  # the upstream's 50 requests/second: twice the second that 50 take to flow off
        ('limits: ["60 requests/minute", "5 USD/day"]', 120_000),
        ('limits: [{limit: "60 requests/minute", burst: 600}]', 1_200_000),
        (
            'defaults: {key: {limits: ["1 requests/hour"]}}',
            7_200_000,
        ),  # of keys that no config names, too
        ('limits: ["0 requests/hour"]', 2_000),
    ],
)
def test_how_far_back_rates_look(tmp_path: Path, text: str, back_ms: int) -> None:
    assert made(tmp_path, HEAD + text).lookback_ms() == back_ms


# what is written under `limits`, and what is said of it
REFUSED = [
    (
        'limits: ["5 EUR/month"]',
        "limits[0]: charges are counted in the ledger's currency: write the amount in USD",
    ),
    (
        'limits: ["5 USD/month", "6 USD/month"]',
        "limits[1]: goes by the same count as limits[0] (proxy/USD/month); give one of them a name",
    ),
    (
        'limits: ["5 USD/month for b,a", "6 USD/month for a, b"]',
        "limits[1]: goes by the same count as limits[0] (proxy/USD/month/a,b); give one of them a name",
    ),
    (
        'limits: [{limit: "5 USD/month", name: x}]\nteams: {t: {limits: [{limit: "5 USD/day", name: x}]}}',
        "teams.t.limits[0]: goes by the same count as limits[0] (x); choose another name",
    ),
    (
        'limits: [{limit: "5 USD/month", burst: 3}]',
        "limits[0]: burst is for limits per second, minute or hour; remove it",
    ),
    (
        'keys: {a: {secret: s, limits: [{limit: "5 requests/hour", warn_at: [80%]}]}}',
        "keys.a.limits[0]: warn_at is for limits per day, week, month or total; remove it",
    ),
    (
        'defaults: {key: {limits: ["5 requests/day", "6 requests/day"]}}',
        "defaults.key.limits[1]: goes by the same count as defaults.key.limits[0] (key:*/requests/day); give one of them a name",
    ),
    (
        'defaults: {team: {limits: ["5 EUR/day"]}}',
        "defaults.team.limits[0]: charges are counted in the ledger's currency: write the amount in USD",
    ),
    ('limits: [{limit: "5 USD/month", name: "a/b"}]', "limits[0].name: expected a name of letters"),
    ('limits: ["5 pounds/month"]', "limits[0]: no such unit"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_what_cannot_be_counted_is_refused_with_its_remedy(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        made(tmp_path, HEAD + text)
    (message,) = raised.value.messages
    assert told in message


def test_names_may_differ_where_identities_would_not(tmp_path: Path) -> None:
    text = 'limits: ["5 USD/month", {limit: "4 USD/month", name: early, enforce: warn}]\nteams: {t: {limits: ["5 USD/month"]}}\nkeys: {t: {secret: s, limits: ["5 USD/month"]}}'
    assert len(made(tmp_path, HEAD + text).configured()) == 6


@pytest.mark.parametrize(
    ("proxy", "upstream", "key", "apart"),
    [
        ("1 requests/month", "9 requests/day", "1 requests/month", False),
        ("1 requests/month for gpt-*", "9 requests/day", "1 requests/month", True),
        ("1 requests/month", "9 requests/month", "1 requests/month", True),
        ("1 requests/month", "9 requests/day", "1 requests/month for m", True),
        ("1 requests/month", "9 requests/day for m", "1 requests/month per end_user", False),
    ],
)
def test_whether_a_periods_limits_ask_for_model_or_upstream(
    tmp_path: Path, proxy: str, upstream: str, key: str, apart: bool
) -> None:
    config = Settings(
        data_dir=tmp_path,
        limits=(LimitSettings(limit=proxy),),
        upstreams={
            "u": UpstreamSettings(base_url="http://h", limits=(LimitSettings(limit=upstream),))
        },
        keys={"k": KeySettings(limits=(LimitSettings(limit=key),))},
    )
    rules = rules_of(config)
    monthly = rules.of_period(Per.MONTH)
    assert monthly.tell_calls_apart() is apart
    whole = rules.limits_for("k", None, "u", "m")
    assert monthly.limits_for("k", None, "u", "m") == tuple(
        limit for limit in whole if limit.per is Per.MONTH and limit.dimension is None
    )


def test_a_key_without_a_limit_of_the_period_is_no_stranger_to_it(tmp_path: Path) -> None:
    config = Settings(
        data_dir=tmp_path,
        keys={"k": KeySettings(limits=(LimitSettings(limit="1 requests/day"),))},
        defaults=Defaults(key=LimitDefaults(limits=(LimitSettings(limit="5 requests/month"),))),
    )
    monthly = rules_of(config).of_period(Per.MONTH)
    assert monthly.limits_for("k", None, "u", None) == ()
    assert len(monthly.limits_for("stranger", None, "u", None)) == 1


def test_a_default_limit_may_ask_for_models_where_no_key_is_named(tmp_path: Path) -> None:
    defaults = Defaults(key=LimitDefaults(limits=(LimitSettings(limit="5 requests/day for m"),)))
    rules = rules_of(Settings(data_dir=tmp_path, defaults=defaults))
    assert rules.of_period(Per.DAY).tell_calls_apart()
    assert not rules.of_period(Per.MONTH).tell_calls_apart()
