"""Learns from answers that state their usage how to estimate those that state none.

A ratio is one of sums (tokens stated / what was counted), not a mean of ratios, so totals come out
right. Old answers weigh less and less: every `ANSWERS_MAX` answers all sums are halved.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Annotated, Final

import msgspec

ANSWERS_MAX: Final = 2_000
# From so many on, what was learned overrules what the name of a model promises.
ANSWERS_TRUSTED: Final = 20
OUTPUT_EXPECTED: Final = 1_024  # tokens, of a model of which nothing is known
_PERCENTILE: Final = (95, 100)
_STEPS: Final = 4  # buckets from one power of two to the next
_BUCKETS_MAX: Final = 54 * _STEPS
_KNOWN_WITHIN: Final = (2, 100)  # a vocabulary counts exactly if it is so close to what was stated
# Clients fill their bodies as they like, and completions with `echo` repeat their prompts: an
# answer weighs no more than the tokens it states can be text of,
# else a single one with a megabyte of blanks in it would make everybody's estimates next to
# nothing.
_TOKEN_BYTES_MAX: Final = 16  # escaped Chinese has 12, indented code 8
_TOKEN_COUNTED_MAX: Final = 4  # of our tokens for one of the vendor's
# Of one answer. A vendor that states more is mistaken; the sums stay far below what a column or a
# counter holds.
_TOKENS_MAX: Final = 2**32
# Vocabularies differ by the kind of text: hardly for English, by a third for Chinese. Tokens per
# 100 characters tell prose, code and dense scripts apart.
_DENSITIES: Final = (28, 42)
_DENSE_ANSWERS_MIN: Final = 10  # of a kind, before it is gone by

TextCount = tuple[int, int]  # our own count of a text: tokens and characters
_Sum = Annotated[int, msgspec.Meta(ge=0)]
_Per = Annotated[int, msgspec.Meta(gt=0)]


class Ratio(msgspec.Struct):
    """Tokens stated per unit counted. It begins at `first` tokens per `first_per` units, with the
    weight of that many, which soon is nothing."""

    first: _Sum
    first_per: _Per
    tokens: _Sum = 0
    units: _Sum = 0
    answers: _Sum = 0

    def learn(self, tokens: int, units: int) -> None:
        self.answers += 1
        self.tokens += tokens
        self.units += units

    def parts(self) -> tuple[int, int]:
        """(tokens, units): multiply by the one, divide by the other. Neither is 0."""
        return max(self.tokens + self.first, 1), self.units + self.first_per

    def of(self, units: int) -> int:
        """Tokens of so many units, rounded up; never more than one answer can have."""
        tokens, per = self.parts()
        return min(-(-units * tokens // per), _TOKENS_MAX)

    def halve(self) -> None:
        self.tokens //= 2
        self.units //= 2
        self.answers //= 2


_Ratios = Annotated[
    list[Ratio], msgspec.Meta(min_length=len(_DENSITIES) + 1, max_length=len(_DENSITIES) + 1)
]


class Direction(msgspec.Struct):
    """Input or output of one model: tokens per token of our own count, and per byte.

    It also knows how far estimates would have been off, had they been needed.
    """

    per_counted: Ratio = msgspec.field(default_factory=lambda: Ratio(32, 32))
    # The same, of what the published rules cover.
    per_exact: Ratio = msgspec.field(default_factory=lambda: Ratio(32, 32))
    by_density: _Ratios = msgspec.field(
        default_factory=lambda: [Ratio(32, 32) for _ in range(len(_DENSITIES) + 1)]
    )
    per_byte: Ratio = msgspec.field(default_factory=lambda: Ratio(64, 256))
    answers: _Sum = 0  # that state their tokens
    counted_answers: _Sum = 0  # of which we have counted the text too
    estimated: _Sum = 0  # what would have been estimated for those …
    stated: _Sum = 0  # … and what they stated

    def learn(
        self, tokens: int, size_bytes: int, counted: TextCount | None, *, exact: bool = True
    ) -> None:
        """An answer has stated `tokens` for so many bytes of text.

        `counted` is our own count of that text, None if there is none; it is `exact` if the rules
        are right.
        """
        if tokens > _TOKENS_MAX:
            return
        self.per_byte.learn(tokens, min(size_bytes, tokens * _TOKEN_BYTES_MAX))
        self.answers += 1
        if counted is not None:
            self.estimated += self._ratio(counted).of(counted[0])
            self.stated += tokens
            weight = min(counted[0], tokens * _TOKEN_COUNTED_MAX)
            self.per_counted.learn(tokens, weight)
            self.by_density[_density(counted)].learn(tokens, weight)
            if exact:
                self.per_exact.learn(tokens, weight)
            self.counted_answers += 1
        if self.answers >= ANSWERS_MAX:
            self._halve()

    def estimate(self, size_bytes: int, counted: TextCount | None) -> int:
        """Tokens of a text that nobody stated: from our count if that helps, else by bytes."""
        tokens = self.from_count(counted)
        return self.per_byte.of(size_bytes) if tokens is None else tokens

    def from_count(self, counted: TextCount | None) -> int | None:
        """The same from our own count alone.

        None without a count, or while only the ratio to bytes has been learned.
        """
        if counted is not None and (
            self.counted_answers >= ANSWERS_TRUSTED or self.answers < ANSWERS_TRUSTED
        ):
            return self._ratio(counted).of(counted[0])
        return None

    def agrees(self) -> bool:
        """Whether our own count is what the vendor states, as far as is known."""
        if self.per_exact.answers < ANSWERS_TRUSTED:
            return True
        tokens, counted = self.per_exact.parts()
        share, whole = _KNOWN_WITHIN
        return abs(tokens - counted) * whole <= counted * share

    def _ratio(self, counted: TextCount) -> Ratio:
        """That of texts like this one, if enough of them are known."""
        alike = self.by_density[_density(counted)]
        return alike if alike.answers >= _DENSE_ANSWERS_MIN else self.per_counted

    def _halve(self) -> None:
        self.per_byte.halve()
        for ratio in (self.per_counted, self.per_exact, *self.by_density):
            ratio.halve()
        self.answers //= 2
        self.counted_answers //= 2
        self.estimated //= 2
        self.stated //= 2


class Learned(msgspec.Struct):
    """All that is learned of one model. `outputs`: how often an answer had how many tokens, in
    buckets that grow by about a fifth."""

    input: Direction = msgspec.field(default_factory=Direction)
    output: Direction = msgspec.field(default_factory=Direction)
    outputs: Annotated[list[_Sum], msgspec.Meta(max_length=_BUCKETS_MAX + 1)] = []

    def learn_output_size(self, tokens: int) -> None:
        """An answer had so many tokens of output."""
        bucket = min(_bucket(tokens), _BUCKETS_MAX)
        self.outputs += [0] * (bucket + 1 - len(self.outputs))
        self.outputs[bucket] += 1
        if sum(self.outputs) >= ANSWERS_MAX:
            self.outputs = [count // 2 for count in self.outputs]

    def output_expected(self) -> int:
        """The 95th percentile of the answers' output tokens.

        `OUTPUT_EXPECTED` while hardly any answers are known.
        """
        up_to = list(accumulate(self.outputs))  # how many answers are in this bucket or below
        if not up_to or up_to[-1] < ANSWERS_TRUSTED:
            return OUTPUT_EXPECTED
        share, whole = _PERCENTILE
        return _bucket_end(bisect_left(up_to, -(-up_to[-1] * share // whole)))


def _density(counted: TextCount) -> int:
    """Which kind of text this is, by its tokens per character."""
    tokens, characters = counted
    return sum(tokens * 100 >= bound * characters for bound in _DENSITIES)


def _bucket(tokens: int) -> int:
    """0 for 0 and 1 tokens, then `_STEPS` of them for each power of two."""
    if tokens < 2:
        return 0
    power = tokens.bit_length() - 1
    return (power - 1) * _STEPS + ((tokens - (1 << power)) * _STEPS >> power) + 1


def _bucket_end(bucket: int) -> int:
    """The largest number of tokens in a bucket."""
    if bucket == 0:
        return 1
    power, step = divmod(bucket - 1, _STEPS)
    power += 1
    return (1 << power) + (((step + 1) << power) - 1) // _STEPS
