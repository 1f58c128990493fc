"""Credits: booked before they count, once, in the limit's own unit. (What the command line makes of
them: tests/cli/test_limit.py.)"""

from __future__ import annotations

import asyncio
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from proxy import ledger
from proxy.config.limits import rules_of
from proxy.config.settings import KeySettings, LimitSettings, Settings
from proxy.core.errors import ProxyError
from proxy.core.limits.credit import Credit
from proxy.core.limits.decisions import Used
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Scope, limit_of
from proxy.core.limits.rules import Rules
from proxy.core.limits.state import LimitState
from proxy.ledger import Ledger, LedgerUnavailable
from proxy.quota import Quota, connect
from proxy.quota.credits import CreditOrder, LimitChoice, counts_of, credit, standings
from proxy.quota.status import AT_ONCE

UTC = ZoneInfo("UTC")
NOW_MS = 1_800_000_000_000
SETTINGS = Settings(
    limits=tuple(
        LimitSettings(limit=rule) for rule in ("10 USD/month", "9 tokens/day", "4 concurrent")
    )
)


class Refusing:
    """A ledger whose disk is full."""

    async def credit(self, credit: Credit) -> None:
        raise LedgerUnavailable("the disk is full")


async def listed(quota: Quota, rules: Rules, near_ppm: int = 0) -> list[LimitState]:
    choice = LimitChoice(near_ppm=near_ppm)
    return list((await standings(quota, rules, SETTINGS, NOW_MS, choice)).states)


async def parts(directory: Path) -> tuple[Quota, Ledger]:
    return await connect("memory:", UTC), await ledger.connect("sqlite:ledger.db", directory)


@pytest.mark.parametrize(
    ("limit", "amount", "booked", "shown"),
    [
        ("proxy/USD/month", "2.5", 2_500_000_000, "2.50 USD"),
        ("proxy/USD/month", "-1", -(10**9), "-1 USD"),
        ("proxy/tokens/day", "1_000", 1000, "1000 tokens"),
    ],
)
async def test_an_amount_is_read_in_the_limit_s_unit(
    tmp_path: Path, limit: str, amount: str, booked: int, shown: str
) -> None:
    quota, book = await parts(tmp_path)
    order, rules = CreditOrder(amount=amount, reason=" because "), rules_of(SETTINGS)
    done = await credit(limit, order, quota, book, rules, zone=UTC, now_ms=NOW_MS, by="ops")
    [found] = await book.credits()
    await book.aclose()
    assert (
        found.id,
        found.limit_id,
        found.amount,
        found.reason,
        found.granted_by,
        found.granted_at_ms,
    ) == (done.id, limit, booked, "because", "ops", NOW_MS)
    assert (done.credited, done.state.granted) == (shown, booked)


@pytest.mark.parametrize("sign", ["", "-"])
async def test_an_amount_beyond_the_ledger_s_integers_is_refused(tmp_path: Path, sign: str) -> None:
    quota, book = await parts(tmp_path)
    most = "9223372036.854775807"

    async def ask(amount: str) -> str:
        order, rules = CreditOrder(f"{sign}{amount}", "r"), rules_of(SETTINGS)
        done = await credit(
            "proxy/USD/month", order, quota, book, rules, zone=UTC, now_ms=NOW_MS, by="ops"
        )
        return done.credited

    for amount in ("9223372036.854775808", "99999999999", "999999999999999"):
        with pytest.raises(ProxyError, match=f"at most {most} USD"):
            await ask(amount)
    assert await ask(most) == f"{sign}{most} USD"
    await book.aclose()


async def test_a_limit_that_was_taken_back_is_not_told_though_it_has_a_count() -> None:
    quota = await connect("memory:", UTC)
    limits = (
        *rules_of(SETTINGS).configured(),
        limit_of(parse("3 requests/day"), Scope.KEY, "fwd-1"),  # of a caller whom no config names
        limit_of(parse("3 requests/day"), Scope.KEY, "bob"),
    )
    quota.adjust(limits, NOW_MS, Used(requests=1), NOW_MS)
    told = {state.limit.id for state in await listed(quota, rules_of(SETTINGS))}
    assert told == {
        "proxy/USD/month", "proxy/tokens/day", "proxy/concurrent", "key:fwd-1/requests/day",
    }  # fmt: skip
    assert "key:bob/requests/day" in {limit.id for limit in quota.limits()}


async def test_what_is_not_booked_does_not_count() -> None:
    quota = await connect("memory:", UTC)
    with pytest.raises(LedgerUnavailable):
        await credit(
            "proxy/tokens/day",
            CreditOrder("5", "r"),
            quota,
            Refusing(),
            rules_of(SETTINGS),
            zone=UTC,
            now_ms=NOW_MS,
            by="ops",
        )  # type: ignore[arg-type]
    assert all(state.granted == 0 for state in await listed(quota, rules_of(SETTINGS)))


async def test_a_limit_that_only_has_a_count_can_be_credited_too(tmp_path: Path) -> None:
    """A key that no config names has the limits of `defaults`."""
    quota, book = await parts(tmp_path)
    rules = rules_of(Settings())
    try:
        with pytest.raises(ProxyError) as refused:
            await credit(
                "key:fwd-1/tokens/day",
                CreditOrder("5", "r"),
                quota,
                book,
                rules,
                zone=UTC,
                now_ms=NOW_MS,
                by="ops",
            )
        assert (refused.value.status, refused.value.code) == (404, "limit_not_found")
    finally:
        await book.aclose()


async def test_one_limit_is_shown_and_of_one_with_values_the_fullest(tmp_path: Path) -> None:
    quota = await connect("memory:", UTC)
    rules = rules_of(
        Settings(
            limits=(
                LimitSettings(limit="9 tokens/day per end_user"),
                LimitSettings(limit="5 tokens/day"),
            )
        )
    )
    each, plain = rules.configured()
    state, values = await counts_of(quota, rules, each.id, NOW_MS)
    assert (state.used, state.limit.value, values) == (0, None, 0), "nobody has used it yet"
    for value, tokens in (("u1", 2), ("u2", 7), ("u3", 1)):
        quota.adjust([each.of_value(value)], NOW_MS, Used(input_tokens=tokens), NOW_MS)
    state, values = await counts_of(quota, rules, each.id, NOW_MS)
    assert (state.used, state.limit.value, values) == (7, "u2", 3)
    assert (await counts_of(quota, rules, plain.id, NOW_MS))[1] is None
    book = await ledger.connect("sqlite:ledger.db", tmp_path)
    order = CreditOrder("5", "r")
    done = await credit(each.id, order, quota, book, rules, zone=UTC, now_ms=NOW_MS, by="ops")
    await book.aclose()
    assert (done.state.limit.value, done.state.used, done.state.granted) == ("u2", 7, 5)
    with pytest.raises(ProxyError, match="the nearest is proxy/tokens/day"):
        await counts_of(quota, rules, "proxy/token/day", NOW_MS)


async def test_limits_come_fullest_first() -> None:
    quota = await connect("memory:", UTC)
    rules = rules_of(SETTINGS)
    quota.adjust(
        [limit for limit in rules.configured() if limit.id == "proxy/tokens/day"],
        NOW_MS,
        Used(input_tokens=3),
        NOW_MS,
    )
    assert [state.limit.id for state in await listed(quota, rules)] == [
        "proxy/tokens/day",
        "proxy/USD/month",
        "proxy/concurrent",
    ]
    assert [state.limit.id for state in await listed(quota, rules, near_ppm=1)] == [
        "proxy/tokens/day"
    ]


async def test_a_list_of_many_limits_lets_others_have_their_turn(tmp_path: Path) -> None:
    quota = await connect("memory:", UTC)
    rules = rules_of(
        Settings(
            keys={
                f"k{number}": KeySettings(limits=(LimitSettings(limit="9 tokens/day"),))
                for number in range(20 * AT_ONCE)
            }
        )
    )
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    waiting = asyncio.create_task(others())
    assert len(await listed(quota, rules)) == 20 * AT_ONCE
    assert turns >= 20
    waiting.cancel()
