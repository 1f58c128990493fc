"""The counts of one set of labels, and their samples."""

from __future__ import annotations

from proxy.core.usage import Source
from proxy.metrics.buckets import DURATION_BOUNDS_S, FIRST_BYTE_BOUNDS_S, PER_TOKEN_BOUNDS_S
from proxy.metrics.families import Families
from proxy.metrics.histogram import Histogram


class LedgerCounts:
    """The ledger-true counts of one team, key, model and upstream."""

    __slots__ = (
        "_labels",
        "cache_write_long_tokens",
        "cache_write_tokens",
        "cached_tokens",
        "charge_nano",
        "cost_nano",
        "endings",
        "input_tokens",
        "output_tokens",
        "pair",
        "reasoning_tokens",
        "searches",
    )

    def __init__(self, labels: tuple[str, ...], pair: ModelCounts) -> None:
        self._labels = labels
        self.pair = pair
        self.endings: dict[tuple[int | None, str], int] = {}
        self.input_tokens = self.output_tokens = self.cached_tokens = self.cache_write_tokens = (
            self.reasoning_tokens
        ) = 0
        self.cache_write_long_tokens = self.searches = 0
        self.cost_nano: dict[str, int] = {}
        self.charge_nano: dict[str, int] = {}

    def collect(self, families: Families) -> None:
        """Add the samples; in the scrape's thread."""
        labels = self._labels
        for (status, outcome), count in self.endings.copy().items():
            families.add(
                "requests_total",
                (*labels, "none" if status is None else str(status), outcome),
                count,
            )
        families.add("input_tokens_total", labels, self.input_tokens)
        families.add("output_tokens_total", labels, self.output_tokens)
        families.add("cached_input_tokens_total", labels, self.cached_tokens)
        families.add("cache_write_input_tokens_total", labels, self.cache_write_tokens)
        families.add("cache_write_long_input_tokens_total", labels, self.cache_write_long_tokens)
        families.add("reasoning_output_tokens_total", labels, self.reasoning_tokens)
        families.add("searches_total", labels, self.searches)
        for currency, value_nano in self.cost_nano.copy().items():
            families.nano("cost_total", (*labels, currency), value_nano)
        for currency, value_nano in self.charge_nano.copy().items():
            families.nano("charge_total", (*labels, currency), value_nano)


class ModelCounts:
    """The counts of one upstream and model."""

    __slots__ = (
        "_labels",
        "duration",
        "first_byte",
        "inconsistent",
        "per_token",
        "sources",
        "unpriced",
    )

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self.sources = dict.fromkeys(Source, 0)
        self.unpriced = 0
        self.inconsistent = 0
        self.duration = Histogram(DURATION_BOUNDS_S)
        self.first_byte = Histogram(FIRST_BYTE_BOUNDS_S)
        self.per_token = Histogram(PER_TOKEN_BOUNDS_S)

    @property
    def model(self) -> str:
        """The model's label."""
        return self._labels[1]

    def collect(self, families: Families) -> None:
        """Add the samples; in the scrape's thread."""
        for source, count in self.sources.items():
            families.add("usage_source_total", (*self._labels, source), count)
        families.add("inconsistent_total", self._labels, self.inconsistent)
        families.histogram("request_duration_seconds", self._labels, self.duration.snapshot())
        families.histogram("time_to_first_byte_seconds", self._labels, self.first_byte.snapshot())
        families.histogram("time_per_output_token_seconds", self._labels, self.per_token.snapshot())
