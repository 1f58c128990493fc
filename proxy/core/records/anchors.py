"""An anchor: how far the book's chains reached and where they ended, to be kept elsewhere.

A book whose end was cut off, or that was made anew with its key, is whole in itself. It does not
agree with an anchor that was taken before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from proxy.core.records.canonical import key_name, seal
from proxy.core.records.chain import Flaw

ANCHOR_CHARS_MAX = 4000  # of some thirty writers


class ChainEnd(msgspec.Struct, frozen=True):
    """The last row of a chain: its seq, and its hash as 64 hex digits."""

    seq: int
    hash: str


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the records' chain, with its seal, and those of the other chains.

    booked_at_ms · when its batch was booked, in Unix milliseconds
    key_name, seal · of the key that sealed it; the seal as 64 hex digits
    credits, audit · None: there is nothing of them
    chains · the end of each writer's chain, where a ledger has several
    sealed_seq · what the seal has for `seq` then: the place in its chain
    """

    tollkeeper_anchor: Literal[1] = 1
    ledger: str
    seq: int
    hash: str
    booked_at_ms: int
    key_name: str
    seal: str
    credits: ChainEnd | None = None
    audit: ChainEnd | None = None
    sealed_seq: int | None = None
    chains: dict[str, ChainEnd] = {}

    def sealed_with(self, key: bytes) -> bool | None:
        """Whether this key made its seal; None if it was another key's."""
        if key_name(key) != self.key_name:
            return None
        at = self.seq if self.sealed_seq is None else self.sealed_seq
        return seal(key, at, self.booked_at_ms, bytes.fromhex(self.hash)).hex() == self.seal

    def ends(self) -> Iterator[tuple[str, ChainEnd]]:
        """Each chain that it holds the end of, by its name."""
        if not self.chains:
            yield "records", ChainEnd(self.seq, self.hash)
        for chain, end_of_chain in self.chains.items():
            yield f"records of {chain}", end_of_chain
        for name, end in (("credits", self.credits), ("audit", self.audit)):
            if end is not None:
                yield name, end


def anchors_of(text: str) -> list[Anchor]:
    """The anchors of a file, one a line. Raises ValueError with the line that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            anchor = msgspec.json.decode(line, type=Anchor)
            for value in (anchor.seal, *(end.hash for _, end in anchor.ends())):
                if len(bytes.fromhex(value)) != 32:
                    raise ValueError("a hash has 64 hex digits")
        except (msgspec.MsgspecError, ValueError) as error:
            raise ValueError(f"line {number} is no anchor: {error}") from error
        found.append(anchor)
    if not found:
        raise ValueError("there is no anchor in it; `tollkeeper ledger anchor` prints one")
    return found


def flaw_at(part: str, end: ChainEnd, last_seq: int, found: bytes | None) -> Flaw | None:
    """What is wrong with a chain that an anchor says reached `end`; None if it still does.

    `found`: the hash of the row there now; None if there is none. The chain ends at `last_seq`.
    """
    if found is not None and found.hex() == end.hash:
        return None
    if last_seq < end.seq:
        what = f"{part}: the anchor was taken at seq {end.seq}, and they end at {last_seq} now: "
        return Flaw(part, what + "the end was cut off, or this is an older copy", end.seq)
    if found is None:
        return Flaw(part, f"{part}: the row of the anchor, seq {end.seq}, is gone", end.seq)
    what = f"{part}: seq {end.seq} has another hash than in the anchor: the book was made anew"
    return Flaw(part, what, end.seq)
