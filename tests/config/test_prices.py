"""Prices that contradict each other, and models that stay without one."""

from __future__ import annotations

import msgspec
import pytest

from proxy.config import prices as config_prices
from proxy.config.price_tables import bundled
from proxy.config.settings import (
    DatedShare,
    FxRate,
    Price,
    Route,
    Settings,
    TeamSettings,
    UpstreamSettings,
)

UPSTREAM = UpstreamSettings(base_url="http://h")
CNY = {"CNY": (FxRate(rate="0.14"),)}


def a_config(*prices: Price, **changes: object) -> Settings:
    return Settings(**{"upstreams": {"v": UPSTREAM}, "prices": prices, **changes})


def row(model: str = "m", **changes: object) -> Price:
    return Price(**{"model": model, "input": "1", "output": "2", **changes})


def source(provider: str) -> dict[str, dict[str, UpstreamSettings]]:
    return {"upstreams": {"v": msgspec.structs.replace(UPSTREAM, price_source=provider)}}


def discounted(discount: str | tuple[DatedShare, ...]) -> dict[str, object]:
    return {"upstreams": {"v": msgspec.structs.replace(UPSTREAM, discount=discount)}}


def share(rate: str, **changes: str) -> DatedShare:
    return DatedShare(rate=rate, **changes)


def told(settings: Settings, where: dict[str, str] | None = None) -> list[str]:
    found: list[str] = []
    config_prices.check(settings, where or {}, lambda path, text: found.append(f"{path}: {text}"))
    return found


# The config, and how each of its problems begins.
PROBLEMS: list[tuple[Settings, list[str]]] = [
    (a_config(), []),
    (
        a_config(
            row(),
            row("n"),
            row(from_="2026-01-01"),
            row(service_tier="flex"),
            row(upstream="v"),
            row(above_input_tokens=1),
            row("m*"),
        ),
        [],
    ),
    (
        a_config(row(), row("n"), row()),
        [
            "prices[2]: prices[0] is for the same requests (m), and nothing says which price applies; give the newer one a later `from`"
        ],
    ),
    (
        a_config(row(), row(input="7", currency="USD")),
        ["prices[1]: prices[0] is for the same requests (m)"],
    ),
    (
        a_config(row(from_="2026-01-01"), row(from_="2026-01-01")),
        ["prices[1]: prices[0] is for the same requests (m)"],
    ),
    (a_config(row("*-mini"), row("gpt-*")), []),
    (a_config(row("*gpt-4"), row("gpt-4*"), row("*a*"), row("*b*")), []),
    (a_config(row(hours_utc="00:00-12:00"), row(hours_utc="12:00-24:00"), row()), []),
    (
        a_config(row(hours_utc="00:00-12:01"), row(hours_utc="12:00-24:00")),
        ["prices[1]: prices[0] is for the same requests (m)"],
    ),
    (
        a_config(row(hours_utc="12:00-12:00")),
        ["prices[0].hours_utc: begins and ends at the same minute"],
    ),
    (a_config(Price(model="m")), ["prices[0]: gives no price; add input"]),
    (
        a_config(Price(model="m", request="1")),
        [
            'prices[0]: gives request and nothing for plain tokens, whose amounts would be unknown; if they cost nothing, write input: "0"'
        ],
    ),
    (a_config(Price(model="m", input="1")), []),
    (
        a_config(row(currency="CNY")),
        ["prices[0].currency: is CNY, and the ledger is kept in USD; say what 1 CNY is worth: fx:"],
    ),
    (a_config(row(currency="CNY"), fx=CNY), []),
    (a_config(row(currency="USD")), []),
    (a_config(fx={"USD": (FxRate(rate="1"),)}), ["fx.USD: is the ledger's own currency"]),
    (a_config(fx={"CNY": (FxRate(rate="0.00"),)}), ["fx.CNY[0].rate: is 0"]),
    (a_config(fx={"CNY": (FxRate(rate="1"), FxRate(rate="2", from_="2026-01-01"))}), []),
    (
        a_config(
            fx={"CNY": (FxRate(rate="1", from_="2026-01-01"), FxRate(rate="2", from_="2026-01-01"))}
        ),
        ["fx.CNY[1]: fx.CNY[0] is also valid from 2026-01-01 on"],
    ),
    (
        a_config(fx={"CNY": (FxRate(rate="1"), FxRate(rate="2"))}),
        ["fx.CNY[1]: fx.CNY[0] is also valid from the beginning"],
    ),
    (
        a_config(
            teams={
                "t": TeamSettings(
                    markup=(
                        share("0.05"),
                        share("0.1", from_="2026-12-01"),
                        share("0", from_="2027-01-01"),
                    )
                )
            }
        ),
        [],
    ),
    (
        a_config(teams={"t": TeamSettings(markup=(share("0.05"), share("0.1")))}),
        ["teams.t.markup[1]: teams.t.markup[0] is also valid from the beginning"],
    ),
    (a_config(**discounted("5")), ['upstreams.v.discount: is a share; write 5 % as "0.05"']),
    (
        a_config(**discounted((share("0.1"), share("5", from_="2026-12-01")))),
        ['upstreams.v.discount[1].rate: is a share; write 5 % as "0.05"'],
    ),
    (a_config(**source("deepseek")), []),
    (
        a_config(**source("deepsek")),
        [
            "upstreams.v.price_source: the bundled price table knows no such provider; the nearest known one is deepseek (known: anthropic,"
        ],
    ),
    (
        a_config(**source("deepseek"), currency="EUR"),
        ["upstreams.v.price_source: is USD, and the ledger is kept in EUR"],
    ),
    (a_config(**source("deepseek"), currency="EUR", fx={"USD": (FxRate(rate="0.9"),)}), []),
]


@pytest.mark.parametrize(("settings", "expected"), PROBLEMS)
def test_contradictions(settings, expected):
    found = told(settings)
    assert len(found) == len(expected) and all(
        text.startswith(beginning) for text, beginning in zip(found, expected, strict=True)
    ), found


def test_a_price_that_could_not_be_read_was_told_already():
    assert told(a_config(Price(model="m")), {"prices[0].input": "config.yaml:1"}) == []
    assert told(a_config(fx={"CNY": (FxRate(rate=""),)})) == []


def test_only_rows_alike_are_compared():
    """Each with each, these would be 200 million comparisons, for which no test has the time."""
    assert (
        told(
            a_config(
                *(row(f"m{number}") for number in range(20_000)),
                *(row(f"{number}*") for number in range(50)),
            )
        )
        == []
    )


def test_a_damaged_table_is_told(tmp_path):
    (tmp_path / "prices.json.gz").write_bytes(b"damaged")
    found: list[str] = []
    config_prices.check(
        a_config(**source("deepseek")),
        {},
        lambda path, text: found.append(f"{path}: {text}"),
        lambda: bundled.load(tmp_path / "prices.json.gz"),
    )
    [text] = found
    assert (
        text.startswith("upstreams.v.price_source: the bundled price table")
        and "reinstall the package" in text
    )


ROUTES = (
    Route(model="deepseek-chat", upstream="v"),
    Route(model="own-model", upstream="v"),
    Route(model="*", upstream="v"),
)
UNKNOWN = "has no price at upstreams.v, so what it costs stays unknown"
REFUSED = "has no price at upstreams.v, so it answers 403 model_not_priced"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (a_config(routes=ROUTES), []),  # whoever configures no price wants none
        (
            a_config(row(), routes=ROUTES),
            [f"routes[0] (deepseek-chat) {UNKNOWN}", f"routes[1] (own-model) {UNKNOWN}"],
        ),
        (a_config(row("own-*"), routes=ROUTES, **source("deepseek")), []),
        (a_config(row("own-*", service_tier="flex"), routes=ROUTES, **source("deepseek")), []),
        (
            a_config(row("own-*", upstream="w"), routes=ROUTES, **source("deepseek")),
            [f"routes[1] (own-model) {UNKNOWN}"],
        ),
        (
            a_config(row("own-*"), routes=ROUTES, unpriced="deny"),
            [f"routes[0] (deepseek-chat) {REFUSED}"],
        ),
        (
            a_config(routes=ROUTES[2:], unpriced="deny"),
            [
                "unpriced: deny, and there is no price for anything at upstreams.v: every request to it answers 403 model_not_priced"
            ],
        ),
    ],
)
def test_models_without_a_price(settings, expected):
    assert list(config_prices.warnings(settings)) == expected
