"""The most that the last answers of a passed path used, which is expected of its next one.

The requests of such a path are not read, so that nothing else tells. Each answer that used less
lowers it a little: only behind a long row of small ones is a large one a surprise.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from proxy.core.tokens.learned import OUTPUT_EXPECTED

FADES: Final = 64  # a smaller answer takes one part in so many off
_MOST: Final = 2**62  # what is beyond is no answer, and a counter has to hold it
_Amount = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


class Peaks(msgspec.Struct):
    """The peaks of one path; before any answer is known, what is expected of any model."""

    input_tokens: _Amount = OUTPUT_EXPECTED
    output_tokens: _Amount = OUTPUT_EXPECTED
    charge_nano: _Amount = 0  # the price of one answer may hang on more than its tokens

    def learn(self, input_tokens: int, output_tokens: int, charge_nano: int | None) -> None:
        """One answer has used so much; a charge of None is unknown and teaches nothing."""
        self.input_tokens = _next(self.input_tokens, input_tokens)
        self.output_tokens = _next(self.output_tokens, output_tokens)
        if charge_nano is not None:
            self.charge_nano = _next(self.charge_nano, charge_nano)


def _next(peak: int, used: int) -> int:
    return min(max(used, peak - -(-peak // FADES)), _MOST)
