"""Months whose bill differs from the ledger in planted places: any kinds, mixtures and models.

Unlike `planted`, each seed makes another month. A difference has one cause or two at once, of which
either is a right name. Between them are requests that must not differ: free models, dated editions
of a model, answers without a cost, and a line that was taken back in full and billed anew.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from proxy.core.money import decimal
from proxy.core.reconciling.causes import Cause
from proxy.core.usage import UsageRecord
from tests.accounting.reconciling.books import DAY_MS, NOVEMBER_MS, by_request, priced
from tests.accounting.reconciling.planted import CUT, GUESSED, cost

DIFFERENCES = 25
Causes = frozenset[Cause]
# What the ledger has of a request, what the bill has instead, and the causes.
_Plant = tuple[dict[str, Any], Callable[[UsageRecord], int], Causes]


def _of(**changes: Any) -> Callable[[UsageRecord], int]:
    return lambda record: cost(record, **changes)


def _to_six_places(record: UsageRecord) -> int:
    return ((record.cost_nano or 0) + 500) // 1_000 * 1_000


def _kinds(dice: random.Random) -> dict[str, _Plant]:
    cached = {"cached_tokens": dice.randrange(400, 900)}
    mini = {"model_served": "gpt-4o-mini", "input_tokens": 5000 + dice.randrange(999)}
    more = dice.randrange(2_000, 9_000)
    return {
        "cache": (cached, _of(cached_tokens=0), frozenset((Cause.CACHED_AS_INPUT,))),
        "tier": ({}, _of(service_tier="priority"), frozenset((Cause.OTHER_TIER,))),
        "alias": (mini, _of(model_served="gpt-4o"), frozenset((Cause.MODEL_ALIAS,))),
        # An odd count of tokens at 2.5 USD a million has seven places.
        "rounding": (
            {"input_tokens": 1001 + 2 * dice.randrange(99)},
            _to_six_places,
            frozenset((Cause.ROUNDING,)),
        ),
        "cancelled": (CUT, _of(output_tokens=more), frozenset((Cause.CANCELLED,))),
        "estimate": (GUESSED, _of(output_tokens=more), frozenset((Cause.ESTIMATE,))),
        "cache and tier": (
            cached,
            _of(cached_tokens=0, service_tier="priority"),
            frozenset((Cause.CACHED_AS_INPUT, Cause.OTHER_TIER)),
        ),
        "cut and tier": (
            CUT,
            _of(output_tokens=more, service_tier="priority"),
            frozenset((Cause.CANCELLED, Cause.OTHER_TIER)),
        ),
        "estimate and cache": (
            GUESSED | cached,
            _of(output_tokens=more, cached_tokens=0),
            frozenset((Cause.ESTIMATE, Cause.CACHED_AS_INPUT)),
        ),
        "alias and cache": (
            mini | {"cached_tokens": 800},
            _of(model_served="gpt-4o", cached_tokens=0),
            frozenset((Cause.MODEL_ALIAS, Cause.CACHED_AS_INPUT)),
        ),
        # These change no amount of a line, but its time or its number.
        "edge": ({}, _of(), frozenset((Cause.DAY_BOUNDARY,))),
        "edge and tier": ({}, _of(service_tier="priority"), frozenset((Cause.DAY_BOUNDARY,))),
        "twice": ({}, _of(), frozenset((Cause.RETRY,))),
        "refund": ({}, _of(), frozenset((Cause.REFUND,))),
    }


def _same(dice: random.Random) -> dict[str, Any]:
    """What a request that must not differ is like."""
    return dice.choice(
        [
            {},
            {"cached_tokens": dice.randrange(900)},
            {"model_served": "gpt-4o-2024-08-06"},
            {"model_requested": "llama-free", "model_served": "llama-free"},
            {"model_served": "o3", "model_requested": "o3"},
            {"input_tokens": 0, "output_tokens": 0},
            {"service_tier": "priority"},
            CUT,
            GUESSED,
            {"client_retry_count": 2},
        ]
    )


def mixture(seed: int) -> tuple[list[UsageRecord], str, dict[str, Causes]]:
    """300 requests, their bill by request, and the causes of each difference by vendor's id."""
    dice = random.Random(seed)
    records: list[UsageRecord] = []
    lines: list[tuple[UsageRecord, int, int]] = []
    causes: dict[str, Causes] = {}
    places = set(dice.sample(range(300), DIFFERENCES))
    names: Iterator[str] = iter(_names(dice))
    for n in range(300):
        if n not in places:
            record = priced(n, **_same(dice), started_at_ms=_moment(dice))
            records.append(record)
            lines += _undisputed(record, dice)
            continue
        name = next(names)
        changes, amount, why = _kinds(dice)[name]
        at_ms = _moment(dice)
        if name.startswith("edge"):
            at_ms = NOVEMBER_MS - 1 - dice.randrange(DAY_MS // 12)
        record = priced(n, **(changes | {"started_at_ms": at_ms}))
        billed_at_ms = NOVEMBER_MS + dice.randrange(60_000) if name.startswith("edge") else at_ms
        records.append(record)
        lines.append((record, amount(record), billed_at_ms))
        if name == "twice":
            lines.append((record, amount(record), billed_at_ms + 1_000))
        if name == "refund":
            lines.append((record, -dice.randrange(1, record.cost_nano or 2), billed_at_ms + 1_000))
        causes[f"gen-{n}"] = why
    dice.shuffle(lines)
    texts = iter([decimal(nano) for _, nano, _ in lines])
    moments = iter([at_ms for _, _, at_ms in lines])
    bill = by_request(
        [record for record, _, _ in lines],
        cost_total=lambda record: next(texts),
        created_at=lambda record: next(moments),
        model_permaslug=lambda record: (
            f"openai/{record.model_requested}"
            if str(record.model_served).startswith("gpt-4o-20")
            else f"openai/{record.model_served}"
        ),
    )
    return records, bill, causes


def _names(dice: random.Random) -> list[str]:
    kinds = list(_kinds(dice))
    names = [*kinds, *dice.choices(kinds, k=DIFFERENCES - len(kinds))]
    dice.shuffle(names)
    return names


def _moment(dice: random.Random) -> int:
    """Any time of the month, and its first and last milliseconds often."""
    if not dice.randrange(10):
        return dice.choice((NOVEMBER_MS, NOVEMBER_MS + 30 * DAY_MS - 1))
    return NOVEMBER_MS + dice.randrange(30 * DAY_MS)


def _undisputed(record: UsageRecord, dice: random.Random) -> list[tuple[UsageRecord, int, int]]:
    nano = record.cost_nano or 0
    line = (record, nano, record.started_at_ms)
    if nano and not dice.randrange(15):
        return [line, (record, -nano, record.started_at_ms), line]
    return [line]


def without_ids(bill: str) -> str:
    """The same bill as one that has no ids, so that sums are compared."""
    return "".join(
        line if n == 0 else "," + line.partition(",")[2]
        for n, line in enumerate(bill.splitlines(keepends=True))
    )


def mixture_by_day(seed: int) -> tuple[list[UsageRecord], str, dict[tuple[int, str], set[str]]]:
    """A month of three models, its bill by day and model, and the names of what differs.

    The names are by day and by the bill's model. 25 of 90 sums differ.
    """
    dice = random.Random(seed)
    records: list[UsageRecord] = []
    rows: dict[tuple[int, str], _DaysLine] = {}
    why: dict[tuple[int, str], set[str]] = {}
    places = dice.sample([(day, model) for day in range(30) for model in _MODELS], DIFFERENCES)
    names = dict(zip(places, _day_names(dice), strict=True))
    for day in range(30):
        for model in _MODELS:
            name = names.get((day, model), "")
            if (name == "tier" and model != "gpt-4o") or (name == "cache" and model == "o3"):
                name = "dearer"  # there is no such price
            requests = [
                priced(
                    len(records) + n,
                    started_at_ms=NOVEMBER_MS + day * DAY_MS + dice.randrange(DAY_MS),
                    model_requested=model,
                    model_served=model,
                    input_tokens=1_000 + dice.randrange(50_000),
                    output_tokens=100 + dice.randrange(5_000),
                    **(_DAYS_LEDGER.get(name, {}) if n < 3 else {}),
                )
                for n in range(dice.randrange(4, 12))
            ]
            records += requests
            line = rows[day, model] = _DaysLine(requests)
            if name:
                why[day, line.plant(name, dice)] = _DAYS_CAUSES[name]
    bill = "Date,Slug,Usage,Requests,Prompt Tokens,Completion Tokens\n"
    for (day, _), line in rows.items():
        bill += line.text(f"2026-11-{day + 1:02}")
    return records, bill, why


_MODELS = ("gpt-4o", "gpt-4o-mini", "o3")
_DAYS_LEDGER: dict[str, dict[str, Any]] = {
    "cache": {"cached_tokens": 800},
    "cancelled": CUT,
    "estimate": GUESSED,
}
_DAYS_CAUSES: dict[str, set[str]] = {
    "cache": {Cause.CACHED_AS_INPUT},
    "tier": {Cause.OTHER_TIER},
    "renamed": {Cause.MODEL_ALIAS},
    "rounding": {Cause.ROUNDING},
    "cancelled": {Cause.CANCELLED},
    "estimate": {Cause.ESTIMATE},
    "refund": {Cause.REFUND},
    "bypass": {"missing_here"},
    "absent": {"missing_there"},
    "dearer": {Cause.PRICE},
}


class _DaysLine:
    """What the bill has of one day and model."""

    def __init__(self, requests: list[UsageRecord]) -> None:
        self.model = str(requests[0].model_served)
        self.requests = requests
        self.nano = sum(record.cost_nano or 0 for record in requests)
        self.count: int | None = len(requests)
        self.inputs = sum(record.input_tokens or 0 for record in requests)
        self.outputs = sum(record.output_tokens or 0 for record in requests)
        self.back_nano = 0

    def plant(self, name: str, dice: random.Random) -> str:
        """Makes it differ, and returns the model's name on the bill."""
        if name == "cache":
            self.nano = sum(cost(record, cached_tokens=0) for record in self.requests)
        elif name == "tier":
            self.nano = sum(cost(record, service_tier="priority") for record in self.requests)
        elif name == "renamed":
            self.model = f"chat-{self.model}-turbo"
        elif name == "rounding":
            self.nano = (self.nano + 50_000) // 100_000 * 100_000 + (
                0 if self.nano % 100_000 else 40
            )
        elif name in ("cancelled", "estimate"):
            self.outputs += (more := dice.randrange(100, 9_000))
            self.nano += cost(self.requests[0], output_tokens=more) - cost(
                self.requests[0], output_tokens=0
            )
        elif name == "refund":
            self.back_nano = -dice.randrange(1_000, self.nano)
        elif name == "bypass":
            self.count = len(self.requests) + 1
            self.inputs += 10_000
            self.nano += cost(self.requests[0], input_tokens=10_000)
        elif name == "absent":
            self.count = None
        elif name == "dearer":
            self.nano = self.nano * 11 // 10
        return self.model

    def text(self, day: str) -> str:
        if self.count is None:
            return ""
        line = f"{day},openai/{self.model},{decimal(self.nano)},{self.count},{self.inputs},{self.outputs}\n"
        return line + (
            f"{day},openai/{self.model},{decimal(self.back_nano)},0,0,0\n" if self.back_nano else ""
        )


def _day_names(dice: random.Random) -> list[str]:
    names = [*_DAYS_CAUSES, *dice.choices(list(_DAYS_CAUSES), k=DIFFERENCES - len(_DAYS_CAUSES))]
    dice.shuffle(names)
    return names
