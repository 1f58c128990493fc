"""What both sides say about one thing: a request, or the requests of one model and period."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.reconciling.lines import OwnLine, VendorLine


class OwnSums:
    """The ledger's side. Amounts are nano-units of the bill's currency.

    `at_rate_nano`: the cost by the rates that are stated for the bill.
    `unpriced`: requests whose cost is not known, or is in another currency. See `OwnLine` for
    `failed`, `cut`, `guessed` and `retried`, which count requests.
    """

    __slots__ = (
        "at_ms",
        "at_rate_nano",
        "cached_tokens",
        "cost_nano",
        "cut",
        "failed",
        "guessed",
        "input_tokens",
        "model",
        "output_tokens",
        "record",
        "requests",
        "retried",
        "tiers",
        "unpriced",
    )

    def __init__(self) -> None:
        self.requests = self.unpriced = self.failed = 0
        self.cost_nano = self.at_rate_nano = 0
        self.input_tokens = self.cached_tokens = self.output_tokens = 0
        self.cut = self.guessed = self.retried = 0
        self.tiers: set[str] = set()
        self.record: str | None = None
        self.model: str | None = None
        self.at_ms: int | None = None

    def add(self, line: OwnLine) -> None:
        """Adds a request."""
        self.requests += 1
        if line.cost_nano is None:
            self.unpriced += 1
        else:
            self.cost_nano += line.cost_nano
        self.at_rate_nano += line.cost_nano or 0 if line.at_rate_nano is None else line.at_rate_nano
        self.input_tokens += line.input_tokens
        self.cached_tokens += line.cached_tokens
        self.output_tokens += line.output_tokens
        self.cut += line.cut
        self.guessed += line.guessed
        self.failed += line.failed
        self.retried += line.retried
        if line.tier is not None:
            self.tiers.add(line.tier)
        if self.record is None:
            self.record, self.model, self.at_ms = line.record, line.model, line.at_ms

    def merge(self, other: OwnSums) -> None:
        """Adds what another one counted."""
        for name in (
            "requests unpriced failed cost_nano at_rate_nano input_tokens cached_tokens "
            "output_tokens cut guessed retried"
        ).split():
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.tiers |= other.tiers
        if self.record is None:
            self.record, self.model, self.at_ms = other.record, other.model, other.at_ms


class BilledSums:
    """The vendor's side. A count is None while no line states it.

    `amount_nano` is None if no line has an amount; `without` counts lines that have none.
    `again_nano`: what lines cost that repeat another line of the same request. `back_nano`: the sum
    of the negative lines. `unit_nano`: the
    steps in which the lines are written, added up.
    """

    __slots__ = (
        "again",
        "again_nano",
        "amount_nano",
        "at_ms",
        "back_nano",
        "cached_tokens",
        "cancelled",
        "id",
        "input_tokens",
        "items",
        "lines",
        "model",
        "number",
        "output_tokens",
        "requests",
        "seen",
        "tiers",
        "unit_nano",
        "without",
    )

    def __init__(self) -> None:
        self.lines = self.without = self.unit_nano = 0
        self.amount_nano: int | None = None
        self.requests: int | None = None
        self.input_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.output_tokens: int | None = None
        self.again = self.again_nano = self.back_nano = 0
        self.items: dict[str, int] = {}
        self.tiers: set[str] = set()
        self.cancelled = False
        self.id: str | None = None
        self.model: str | None = None
        self.at_ms: int | None = None
        self.number = 0
        self.seen: set[tuple[object, ...]] = set()

    def add(self, line: VendorLine, *, compared: bool = False) -> None:
        """Adds a line. `compared`: with the other lines of its request, to find repeated ones."""
        self.lines += 1
        if line.amount_nano is None:
            self.without += 1
        else:
            self.amount_nano = (self.amount_nano or 0) + line.amount_nano
            self.back_nano += min(0, line.amount_nano)
            self.items[line.item] = self.items.get(line.item, 0) + line.amount_nano
            self.unit_nano += line.unit_nano
        self.requests = known_sum((self.requests, line.requests))
        self.input_tokens = known_sum((self.input_tokens, line.input_tokens))
        self.cached_tokens = known_sum((self.cached_tokens, line.cached_tokens))
        self.output_tokens = known_sum((self.output_tokens, line.output_tokens))
        if line.tier is not None:
            self.tiers.add(line.tier)
        self.cancelled |= line.cancelled
        if compared:
            # The same part of one request twice, at the same price.
            what = (line.item, line.amount_nano, line.input_tokens, line.output_tokens)
            if what in self.seen:
                self.again += 1
                self.again_nano += line.amount_nano or 0
            self.seen.add(what)
        if self.model is None:
            self.model = line.model
        if self.at_ms is None:
            self.id, self.at_ms, self.number = line.id, line.at_ms, line.number

    def merge(self, other: BilledSums) -> None:
        """Adds what another one counted."""
        self.lines += other.lines
        self.without += other.without
        self.unit_nano += other.unit_nano
        self.again += other.again
        self.again_nano += other.again_nano
        self.back_nano += other.back_nano
        for name in ("amount_nano", "requests", "input_tokens", "cached_tokens", "output_tokens"):
            setattr(self, name, known_sum((getattr(self, name), getattr(other, name))))
        for item, nano in other.items.items():
            self.items[item] = self.items.get(item, 0) + nano
        self.tiers |= other.tiers
        self.cancelled |= other.cancelled
        if self.at_ms is None:
            self.id, self.at_ms, self.number = other.id, other.at_ms, other.number
        self.model = other.model if self.model is None else self.model


def known_sum(counts: Iterable[int | None]) -> int | None:
    """The sum of the known ones; None if none is known."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
