"""How an input is read: its first bytes choose the settings and the cuts, the rest is what is read.
So one input is one case, for whichever engine made it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

HEAD_BYTES = 4


def opened(data: bytes) -> tuple[random.Random, bytes]:
    """The choices that this input makes, and what is to be read."""
    return random.Random(data[:HEAD_BYTES]), data[HEAD_BYTES:]


def ways(rng: random.Random, data: bytes) -> Iterator[list[bytes]]:
    """The same bytes in pieces: as they are, cut at some places, by events or lines, and small ones
    byte by byte."""
    yield [data]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([1, 1, 2, 8])))
    yield [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    # Also between \r and \n, where the next piece begins with what still belongs to this one.
    yield re.findall(rng.choice([rb"(?s).*?(?:\n\n|\r\r|\r\n\r)|.+$", rb"(?s).*?[\r\n]|.+$"]), data)
    if len(data) <= 300:
        yield [data[at : at + 1] for at in range(len(data))]
