"""Price rows, and which of them applies to an answer.

Candidates are ordered, best first, by:

1. the operator's rows before bundled ones
2. upstream named
3. model written out
4. longest literal run of the glob, then its literal characters
5. of the served model before of the requested one
6. service tier
7. greatest `above_input_tokens`
8. hours
9. latest `from`

The first candidate that applies to the record's input tokens and time is the row. Between globs
that are still alike, such as *a* and *b*, the alphabet decides. So a row that writes the served
model out for its upstream always wins. Else the more specific of the best rows for the two names
wins, and at a tie the row for what was served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from proxy.core.model_names import caseless, matches, matches_caseless, unprefixed
from proxy.core.pricing.amounts import PARTS

RATES: Final = (*PARTS, "image", "search", "request")
OPERATOR: Final = "config"  # the source of rows that the operator wrote
DAY_MINUTES: Final = 24 * 60
MINUTE_MS: Final = 60_000

_WILDCARDS: Final = re.compile(r"[*?\[]")
_WILDCARD: Final = re.compile(r"\*|\?|\[!?\]?[^\]]*\]")


class PriceRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row: decimals per million tokens, image, search and request; None: it does not say.

    The decimals are written as `amounts.plain` writes them.

    - `source`: `config`, or the name and version of a public table
    - `rank`: puts sources in order, the operator's first (0)
    - `from_ms`: the first millisecond for which it is valid
    - `hours_utc`: minutes of the UTC day, [start, end), over midnight where the end comes first
    """

    model: str
    currency: str
    source: str = OPERATOR
    rank: int = 0
    upstream: str | None = None
    input: str | None = None
    cached: str | None = None
    cache_write: str | None = None
    cache_write_long: str | None = None
    audio_input: str | None = None
    output: str | None = None
    reasoning: str | None = None
    audio_output: str | None = None
    image: str | None = None
    search: str | None = None
    request: str | None = None
    service_tier: str | None = None
    above_input_tokens: int | None = None
    hours_utc: tuple[int, int] | None = None
    from_ms: int | None = None

    def rates(self) -> dict[str, str]:
        """The rates that the row gives itself, by name."""
        return {name: rate for name in RATES if (rate := getattr(self, name)) is not None}

    def applies(self, input_tokens: int, at_ms: int) -> bool:
        """Whether this row prices a record with so many input tokens that started at that time.

        It does not look at model, upstream and tier.
        """
        if self.above_input_tokens is not None and input_tokens <= self.above_input_tokens:
            return False
        if self.from_ms is not None and at_ms < self.from_ms:
            return False
        if self.hours_utc is None:
            return True
        start, end = self.hours_utc
        minute = at_ms // MINUTE_MS % DAY_MINUTES
        return start <= minute < end if start < end else minute >= start or minute < end


class PriceList:
    """Rows, found by model, in any letter case."""

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        # In one order whatever the order of the file, so that equal lists choose equally.
        self.rows = tuple(sorted(rows, key=_whole))
        self._literal: dict[str, list[PriceRow]] = {}
        self._globs: list[
            tuple[str, PriceRow]
        ] = []  # each behind the longest text that a name it matches holds
        for row in self.rows:
            if is_literal(row.model):
                self._literal.setdefault(caseless(row.model), []).append(row)
            else:
                self._globs.append((caseless(max(_WILDCARD.split(row.model), key=len)), row))

    def candidates(
        self, upstream: str, requested: str | None, served: str | None, service_tier: str | None
    ) -> tuple[PriceRow, ...]:
        """The rows for these names and this tier, best first, each once."""
        tiers = (None, None if service_tier is None else caseless(service_tier))
        return tuple(
            row for row in self.rows_for(upstream, requested, served) if _tier(row) in tiers
        )

    def rows_for(
        self, upstream: str, requested: str | None, served: str | None
    ) -> tuple[PriceRow, ...]:
        """The same rows for all tiers."""
        found: dict[PriceRow, bool] = {}
        for model, is_served in ((served, True), (requested, False)):
            if model is not None:
                for row in self._matching(model, upstream):
                    found.setdefault(row, is_served)
        return tuple(sorted(found, key=lambda row: _order(row, found[row])))

    def literals(self, upstream: str) -> list[str]:
        """The models that the operator's rows for this upstream write out."""
        return sorted(
            {
                row.model
                for rows in self._literal.values()
                for row in rows
                if row.rank == 0 and row.upstream in (None, upstream)
            }
        )

    def _matching(self, model: str, upstream: str) -> list[PriceRow]:
        """The rows of this upstream, or of any, that match in any letter case.

        Some vendors ignore case and take a name with `models/` before it or without. Neither may
        make a dear model cheap or unpriced. Rows that fit letter by letter win over those of the
        same name that do not, and the operator's for a name with `models/` over those without.
        """
        folded = caseless(model)
        found = self._written_out(folded, upstream)
        plain = unprefixed(folded)
        if plain != folded and all(row.rank for row in found):
            found += self._written_out(plain, upstream)
        for text, row in self._globs:
            # Looked for first: a bundled table has hundreds of globs, and a client that makes up a
            # name for each request would have all of them tried.
            if (
                row.upstream in (None, upstream)
                and text in folded
                and matches_caseless(row.model, folded)
            ):
                found.append(row)
        exact = [row for row in found if row.rank == 0 and matches(row.model, model)]
        names = {caseless(row.model) for row in exact}
        return exact + [
            row
            for row in found
            if row.rank or (row not in exact and caseless(row.model) not in names)
        ]

    def _written_out(self, folded: str, upstream: str) -> list[PriceRow]:
        return [row for row in self._literal.get(folded, ()) if row.upstream in (None, upstream)]


def is_literal(glob: str) -> bool:
    """Whether a glob names one model only."""
    return _WILDCARDS.search(glob) is None


def specificity(row: PriceRow) -> tuple[int, ...]:
    """A key by which rows are sorted: the smaller, the more exactly a row names its model.

    How long two names are that are written out makes no difference.
    """
    literal = is_literal(row.model)
    runs = [len(run) for run in _WILDCARD.split(row.model)]
    return (
        row.rank,
        row.upstream is None,
        not literal,
        0 if literal else -max(runs),
        0 if literal else -sum(runs),
    )


def clash(one: PriceRow, other: PriceRow) -> bool:
    """Whether both rows are for the same requests, so that nothing says which of them applies."""
    if (one.rank, one.model, one.upstream) != (other.rank, other.model, other.upstream):
        return False
    if (_tier(one), one.above_input_tokens, one.from_ms) != (
        _tier(other),
        other.above_input_tokens,
        other.from_ms,
    ):
        return False
    if (one.hours_utc is None) != (other.hours_utc is None):
        return False
    if one.hours_utc is None or other.hours_utc is None:
        return True
    return bool(_minutes(one.hours_utc) & _minutes(other.hours_utc))


def _tier(row: PriceRow) -> str | None:
    """The row's tier as it is compared: vendors and relays write it in any letter case."""
    return None if row.service_tier is None else caseless(row.service_tier)


def _minutes(hours: tuple[int, int]) -> set[int]:
    start, end = hours
    return (
        set(range(start, end)) if start < end else set(range(start, DAY_MINUTES)) | set(range(end))
    )


def _order(row: PriceRow, served: bool) -> tuple[int, ...]:
    return (
        *specificity(row),
        not served,
        row.service_tier is None,
        -1 if row.above_input_tokens is None else -2 - row.above_input_tokens,
        row.hours_utc is None,
        0 if row.from_ms is None else -1,
        0 if row.from_ms is None else -row.from_ms,
    )


def _whole(row: PriceRow) -> tuple[str, bytes]:
    return row.model, msgspec.json.encode(row, order="sorted")
