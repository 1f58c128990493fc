"""The text of a response that was delivered so far: each part once, however often it comes.

For one part of one item the larger of two counts: what came in pieces, and its longest whole text.
Some servers send no pieces, others no whole. Items are told apart by their number; the response
at the end repeats them all, sometimes under other numbers, so it counts by kinds of text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from proxy.core.dialects.openai_responses.items import REASONING, TEXT, THOUGHTS, Written
from proxy.core.dialects.texts import Texts

_PARTS_MAX: Final = 4096  # that are told apart; those behind them count as one
_THOUGHTS: Final = "thoughts"
Place = tuple[int, str, int]  # the number of an item, the kind of text, the number of its part


class _Group:
    """Texts of one item of which only the largest kind counts: its thoughts, or one text alone."""

    __slots__ = ("bytes_by_kind", "counted_bytes")

    def __init__(self) -> None:
        self.bytes_by_kind: dict[str, int] = {}
        self.counted_bytes = 0


class _DeliveredPart:
    """One text: in how many pieces it came, how long it is, and the last piece."""

    __slots__ = ("group", "last", "pieces", "size_bytes", "sum_bytes")

    def __init__(self, group: _Group) -> None:
        self.group = group
        self.size_bytes = 0  # what counts
        self.sum_bytes = 0  # of its pieces
        self.pieces = 0
        self.last = b""


class DeliveredParts:
    """Takes pieces of texts and whole ones.

    What takes text says how many bytes of it are new. That is less than none where pieces turn out
    to have been the text so far, over and over.

    text_bytes · UTF-8 bytes of all texts, each once
    unread_bytes · of what could not be read, which counts with all its bytes
    doubtful · pieces repeated what was there
    """

    __slots__ = (
        "_bytes_by_kind",
        "_groups",
        "_parts",
        "_texts",
        "doubtful",
        "text_bytes",
        "unread_bytes",
    )

    def __init__(self, texts: Texts | None) -> None:
        self.text_bytes = 0
        self.unread_bytes = 0
        self.doubtful = False
        self._texts = texts
        self._parts: dict[Place, _DeliveredPart] = {}
        self._groups: dict[Place, _Group] = {}
        self._bytes_by_kind: dict[str, int] = {}

    def add(self, place: Place, *pieces: bytes) -> int:
        """The next piece of a text, or several."""
        part = self._part(place)
        text = b"".join(pieces)
        part.sum_bytes += len(text)
        part.pieces += len(pieces)
        part.last = pieces[-1]
        return self._resize(place, part, max(part.size_bytes, part.sum_bytes), text)

    def whole(self, place: Place, text: bytes) -> int:
        """All of a text that is done, or was begun."""
        part = self._part(place)
        size_bytes = max(part.size_bytes, len(text))
        if part.pieces > 1 and part.sum_bytes > len(text) and part.last == text:
            # The last piece is all of it: each was the text so far, and the model wrote it once.
            part.sum_bytes = size_bytes = len(text)
            self.doubtful = True
            if self._texts is not None:
                self._texts.whole = False  # what was gathered is too much, so it is scaled
        return self._resize(place, part, size_bytes, text)

    def all_of(self, items: Iterable[Iterable[Written]]) -> int:
        """All texts of a response, item by item.

        For each kind, only what goes beyond the text that came before counts.
        """
        sizes: dict[str, int] = {}
        texts: dict[str, list[bytes]] = {}
        for found in items:
            thoughts: dict[str, list[bytes]] = {}
            for one in found:
                if one.kind in THOUGHTS:
                    thoughts.setdefault(one.kind, []).append(one.text)
                else:
                    texts.setdefault(one.kind, []).append(one.text)
            if thoughts:
                longest = max(thoughts.values(), key=lambda parts: sum(map(len, parts)))
                texts.setdefault(_THOUGHTS, []).extend(longest)
        for kind, parts in texts.items():
            sizes[kind] = sum(map(len, parts))
        new = 0
        for kind, size_bytes in sizes.items():
            more = size_bytes - self._bytes_by_kind.get(kind, 0)
            if more > 0:
                self._bytes_by_kind[kind] = size_bytes
                self.text_bytes += more
                self._hand_on((kind,), b" ".join(texts[kind])[-more:])
                new += more
        return new

    def is_reasoning(self, number: int, part: int) -> bool:
        """Whether this part of an item came as reasoning and not as text."""
        parts = self._parts
        return (number, REASONING, part) in parts and (number, TEXT, part) not in parts

    def _part(self, place: Place) -> _DeliveredPart:
        part = self._parts.get(place)
        if part is None:
            if len(self._parts) >= _PARTS_MAX:
                place = (-1, place[1], 0)
            number, kind, _ = place
            at = (number, _kind(kind), -1) if kind in THOUGHTS else place
            group = self._groups.setdefault(at, _Group())
            part = self._parts.setdefault(place, _DeliveredPart(group))
        return part

    def _resize(self, place: Place, part: _DeliveredPart, size_bytes: int, text: bytes) -> int:
        """A part has this size now; the end of `text` is what is new of it."""
        kind, group = place[1], part.group
        sizes = group.bytes_by_kind
        sizes[kind] = sizes.get(kind, 0) + size_bytes - part.size_bytes
        part.size_bytes = size_bytes
        counted = max(sizes.values())
        new = counted - group.counted_bytes
        if new:
            group.counted_bytes = counted
            self.text_bytes += new
            kind = _kind(kind)
            self._bytes_by_kind[kind] = self._bytes_by_kind.get(kind, 0) + new
            if new > 0:
                self._hand_on(place, text[-new:])
        return new

    def _hand_on(self, key: object, text: bytes) -> None:
        if self._texts is not None:
            self._texts.add(key, text)


def _kind(kind: str) -> str:
    """The kind under which a text is summed up."""
    return _THOUGHTS if kind in THOUGHTS else kind
