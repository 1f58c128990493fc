"""Ledger + credits = counts: what a store is rebuilt from says what the store said that saw every
request."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from proxy import ledger
from proxy.config.limits import rules_of
from proxy.config.settings import (
    Defaults,
    KeySettings,
    LimitDefaults,
    LimitSettings,
    Settings,
    TeamSettings,
    UpstreamSettings,
)
from proxy.core.limits.credit import Credit
from proxy.core.limits.limit import Limit
from proxy.core.usage import UsageRecord
from proxy.ledger import Batch, connect_reader
from proxy.quota import Quota, connect
from proxy.quota.rebuild import restore
from tests.ledger.samples import make_id, make_record, numbered

UNITS = ("requests", "tokens", "input_tokens", "output_tokens", "USD")


def limits(*rules: str) -> tuple[LimitSettings, ...]:
    return tuple(LimitSettings(limit=rule) for rule in rules)


def settings(data_dir: Path) -> Settings:
    """Every unit in every calendar period, at each level, and for some models only."""
    calendar = [
        f"1_000_000 {unit}/{per}" for unit in UNITS for per in ("day", "week", "month", "total")
    ]
    return Settings(
        data_dir=data_dir,
        limits=limits(*calendar),
        upstreams={
            "modelmax": UpstreamSettings(
                base_url="http://h", limits=limits("1_000_000 tokens/month")
            )
        },
        teams={
            "research": TeamSettings(
                limits=limits(
                    "1_000_000 tokens/day for deepseek-*", "1_000_000 tokens/day for gpt-*"
                )
            )
        },
        keys={
            "alice": KeySettings(
                team="research", limits=limits("1_000_000 requests/hour", "1_000_000 tokens/minute")
            )
        },
        defaults=Defaults(
            key=LimitDefaults(limits=limits("1_000_000 requests/day", "8 concurrent"))
        ),
    )


async def rebuilt(config: Settings, now_ms: int, zone: str = "UTC") -> tuple[Quota, dict[str, int]]:
    """A new store over what is booked, and what it says is used of each limit."""
    steady_ms = 10**9
    quota = await connect("memory:", ZoneInfo(zone), monotonic_ms=lambda: steady_ms)
    book = await ledger.connect("sqlite:ledger.db", config.data_dir)
    try:
        queries = connect_reader("sqlite:ledger.db", config.data_dir)
        await restore(
            quota,
            rules_of(config),
            book,
            queries,
            currency="USD",
            zone=ZoneInfo(zone),
            now_ms=now_ms,
        )
        return quota, {
            state.limit.id: state.used for state in await quota.states(quota.limits(), now_ms)
        }
    finally:
        await book.aclose()


async def booked(config: Settings, *records: UsageRecord, credits: tuple[Credit, ...] = ()) -> None:
    book = await ledger.connect("sqlite:ledger.db", config.data_dir)
    try:
        for start in range(0, len(records), ledger.BATCH_MAX):
            await book.book(
                Batch("w0", numbered(*records[start : start + ledger.BATCH_MAX], after=start))
            )
        for credit in credits:
            await book.credit(credit)
    finally:
        await book.aclose()


def counted(limit: Limit, record: UsageRecord) -> int:
    """What a record counts in a limit's unit; the second reading of the same table."""
    tokens = {"input_tokens": record.input_tokens or 0, "output_tokens": record.output_tokens or 0}
    if record.kind == "adjustment" and limit.unit == "requests":
        return 0
    return {
        "requests": 1, "tokens": sum(tokens.values()), **tokens,
        "money": (record.charge_nano or 0) if record.currency == "USD" else 0,
    }[str(limit.unit)]  # fmt: skip


@pytest.mark.parametrize(("zone", "now"), [
    ("UTC", "2026-11-22T12:00"), ("Asia/Kolkata", "2026-11-30T23:50"), ("Asia/Kolkata", "2026-12-01T00:10"), ("America/New_York", "2026-11-01T01:30"),
    ("Australia/Lord_Howe", "2026-10-04T02:40"), ("America/New_York", "2027-03-14T03:30"),
])  # fmt: skip
async def test_a_rebuilt_store_says_what_the_book_says(tmp_path: Path, zone: str, now: str) -> None:
    config = settings(tmp_path)
    place = ZoneInfo(zone)
    moment = datetime.fromisoformat(now).replace(tzinfo=place)
    now_ms = int(moment.timestamp()) * 1000
    rng = random.Random(zone + now)
    records = []
    for number in range(400):
        started_ms = now_ms - rng.choice(
            [
                rng.randrange(3_600_000),
                rng.randrange(40 * 3_600_000),
                rng.randrange(60 * 86_400_000),
            ]
        )
        adjustment = rng.random() < 0.1
        records.append(make_record(
            number, started_at_ms=started_ms, key_id=rng.choice(["alice", "bob"]), team=rng.choice(["research", None]),
            model_requested=rng.choice(["deepseek-v3.2", "gpt-4o", None]), input_tokens=-5 if adjustment else rng.choice([None, 0, rng.randrange(1000)]), output_tokens=rng.randrange(500),
            charge_nano=rng.choice([None, rng.randrange(10**9)]), currency=rng.choice(["USD", "USD", "CNY"]),
            **({"kind": "adjustment", "adjusts": make_id(number + 10_000), "reason": "rerate"} if adjustment else {}),
        ))  # fmt: skip
    await booked(config, *records)
    quota, used = await rebuilt(config, now_ms, zone)
    rules = rules_of(config)
    checked = 0
    for limit in quota.limits():
        if not limit.windowed:
            continue
        states = await quota.states([limit], now_ms)
        expected = 0
        for record in records:
            there = datetime.fromtimestamp(record.started_at_ms / 1000, place)
            same = {
                "day": there.date() == moment.date(), "week": there.isocalendar()[:2] == moment.isocalendar()[:2],
                "month": (there.year, there.month) == (moment.year, moment.month), "total": True,
            }[str(limit.per)]  # fmt: skip
            if same and limit in rules.limits_for(
                record.key_id, record.team, record.upstream, record.model_requested
            ):
                expected += counted(limit, record)
        assert states[0].used == expected, (limit.id, zone, now)
        checked += 1
    assert checked >= 24 and used


async def test_rates_are_rebuilt_from_single_records(tmp_path: Path) -> None:
    config = settings(tmp_path)
    now_ms = 1_800_000_000_000
    await booked(
        config,
        make_record(1, started_at_ms=now_ms - 30_000),
        make_record(2, started_at_ms=now_ms - 90_000),
        make_record(3, started_at_ms=now_ms - 1_800_000),
    )
    slow = Settings(
        data_dir=tmp_path,
        keys={"alice": KeySettings(limits=limits("120 tokens/minute", "2 requests/hour"))},
    )
    _, used = await rebuilt(slow, now_ms)
    assert used["key:alice/tokens/minute"] == 60, (
        "of the record 90 seconds ago all has flowed off, of the one 30 seconds ago half of its 120 tokens"
    )
    assert used["key:alice/requests/hour"] in (2, 3), (
        "three, of which one has flowed off by now, to the second"
    )


async def test_credits_are_rebuilt_and_booked_once(tmp_path: Path) -> None:
    config = settings(tmp_path)
    now_ms = 1_800_000_000_000
    credit = Credit(
        id="c1",
        granted_at_ms=now_ms - 1000,
        limit_id="proxy/tokens/total",
        unit="tokens",
        amount=77,
        reason="trial",
        granted_by="socket",
    )
    dollars = Credit(
        id="c2",
        granted_at_ms=now_ms - 1000,
        limit_id="proxy/tokens/total",
        unit="USD",
        amount=10**9,
        reason="when it was money",
        granted_by="socket",
    )
    await booked(config, credits=(credit, credit, dollars))
    book = await ledger.connect("sqlite:ledger.db", tmp_path)
    assert sorted(await book.credits(), key=lambda one: one.id) == [credit, dollars]
    await book.aclose()
    quota, _ = await rebuilt(config, now_ms)
    [state] = await quota.states(
        [limit for limit in rules_of(config).configured() if limit.id == "proxy/tokens/total"],
        now_ms,
    )
    assert (state.granted, state.remaining) == (77, 1_000_077)


async def test_an_empty_book_counts_nothing(tmp_path: Path) -> None:
    await booked(settings(tmp_path))
    _, used = await rebuilt(settings(tmp_path), 1_800_000_000_000)
    assert not any(used.values())


async def test_the_counts_of_values_are_rebuilt_from_what_records_hold(tmp_path: Path) -> None:
    config = Settings(
        data_dir=tmp_path,
        limits=limits(
            "90 requests/day per end_user",
            "90 tokens/month per tag:env for gpt-*",
            "90 requests/hour per header:x-run",
        ),
        keys={"alice": KeySettings()},
    )
    now_ms = 1_800_000_000_000
    run = {"header:x-run": "r1"}
    await booked(
        config,
        make_record(1, started_at_ms=now_ms, end_user="u1", tags=run, model_requested="gpt-4o"),
        make_record(
            2, started_at_ms=now_ms, end_user="u1", tags={"env": "a"}, model_requested="gpt-4o"
        ),
        make_record(3, started_at_ms=now_ms, end_user=None, tags=run, model_requested="m"),
        make_record(4, started_at_ms=now_ms - 90_000_000, end_user="u1", model_requested="m"),
    )
    quota, _ = await rebuilt(config, now_ms)
    tokens = (make_record(1).input_tokens or 0) + (make_record(1).output_tokens or 0)
    assert {
        (state.limit.dimension, state.limit.value): state.used
        for state in await quota.states(quota.limits(), now_ms)
    } == {
        ("end_user", "u1"): 2, ("end_user", ""): 1, ("tag:env", ""): tokens, ("tag:env", "a"): tokens,
        ("header:x-run", "r1"): 2, ("header:x-run", ""): 1,
    }  # fmt: skip
