"""The texts of an answer as a client puts them together, although only their sizes are kept.

Most servers send increments, and a client appends them. Some send all of the text so far with each
event, or the whole once more at the end: then only what is new was written. The model chooses its
text, not where a server cuts it, so what tells the two apart is how the pieces nest; and where that
leaves a doubt, a piece counts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from proxy.core.dialects.texts import Texts

_HEAD_BYTES: Final = 256  # of a text, kept to recognise it
# A piece that goes on from so much text is a snapshot; below it two must do so.
_PROOF_BYTES: Final = 64
_GROWTHS_PROVE: Final = 8
# by which a snapshot may be shorter than the one before: a blank, half a character, a stop word
_TRIMMED_BYTES_MAX: Final = 32
_HELD_BYTES_MAX: Final = 64 * 1024  # of pieces that nest while it is not decided
_TEXTS_MAX: Final = 256  # of one answer, that are told apart: vendors allow 128 choices


class Assembly:
    """All texts of one answer.

    doubtful · a piece repeated what was there, and whether it was written twice cannot be told
    credit · how often pieces of snapshots have grown beyond how often they have not; one server
    sends all texts alike
    """

    __slots__ = ("_by_key", "_texts", "credit", "doubtful")

    def __init__(self, texts: Texts | None) -> None:
        self._by_key: dict[tuple[object, ...], Text] = {}
        self._texts = texts
        self.doubtful = False
        self.credit = 0

    @property
    def several_choices(self) -> bool:
        """Whether more than one choice has text."""
        return len({key[0] for key in self._by_key if len(key) > 1}) > 1

    def text(self, key: tuple[object, ...]) -> Text:
        """The text of this key: which choice, which field of it, which call. Beyond a bound all are
        one."""
        text = self._by_key.get(key)
        if text is None:
            if len(self._by_key) >= _TEXTS_MAX:
                key = ()
            text = self._by_key.get(key) or self._by_key.setdefault(
                key, Text(self, key, self._texts)
            )
        return text

    def finish(self) -> None:
        """The answer is over: what was held back is text. They drop each other, so that no
        collector has to find them."""
        texts, self._by_key = self._by_key, {}
        for text in texts.values():
            text.finish()


class Text:
    """One text. `add` takes its next piece and says how many bytes it added; fewer than none where
    earlier ones turn out to be repeats.

    At first it is open whether pieces are increments or snapshots of the text so far: pieces that
    nest are held. Increments are recognised by the first piece that does not nest, snapshots by
    pieces that grow. Among snapshots each growth gains a credit and each piece without one costs a
    credit: when there is none left, the pieces are increments after all. The texts of an answer
    share their credit: what repeats finished thoughts while the content grows is no new text.
    """

    __slots__ = (
        "_assembly",
        "_head",
        "_held",
        "_key",
        "_pieces",
        "_repeats_left",
        "_snapshots",
        "_tail",
        "_texts",
        "size",
        "source",
    )

    def __init__(self, assembly: Assembly, key: tuple[object, ...], texts: Texts | None) -> None:
        self._assembly = assembly
        self._key = key
        self._texts = texts
        self._held: list[bytes] | None = []  # pieces that nest; None: it is decided
        self._snapshots = False
        self._pieces = 0
        self._repeats_left = 1  # of a whole text at once; a second one counts
        self.size = 0
        self._head = b""
        self._tail = b""
        self.source: int | None = None  # which member of its choice it comes from

    def add(self, piece: bytes) -> int:
        """The next piece, as UTF-8."""
        size = len(piece)
        if 2 * size >= self.size or self._held is not None or self._snapshots:
            return self._weigh(piece) if size else 0
        if self.size < _HEAD_BYTES:
            self._head = (self._head + piece)[:_HEAD_BYTES]
        self.size += size
        self._tail = piece if size <= _HEAD_BYTES else piece[-_HEAD_BYTES:]
        self._pieces += 1
        if self._texts is not None:
            self._texts.add(self._key, piece)
        return size

    @property
    def plain_bytes_max(self) -> int:
        """The longest piece that can only be an increment, whatever stands in it.

        -1: there is none.
        """
        return -1 if self._held is not None or self._snapshots else (self.size - 1) // 2

    def add_plain(self, pieces: list[bytes]) -> int:
        """The same as `add` of each, where none is longer than `plain_bytes_max`."""
        whole = b"".join(pieces)
        if self.size < _HEAD_BYTES:
            self._head = (self._head + whole)[:_HEAD_BYTES]
        self.size += len(whole)
        self._tail = pieces[-1][-_HEAD_BYTES:]
        self._pieces += len(pieces)
        if self._texts is not None and self._texts.whole:
            self._texts.add_all(self._key, pieces, len(whole))
        return len(whole)

    def is_last(self, piece: bytes) -> bool:
        """Whether the last piece was the same."""
        return piece == (self._held[-1] if self._held else self._tail)

    def finish(self) -> None:
        """No more pieces: those held are text."""
        held, self._held = self._held or [], None
        if (
            len(held) > 1
            and held[1].startswith(held[0])
            and sum(map(len, held)) >= 2 * _PROOF_BYTES
        ):
            self._assembly.doubtful = True
        for piece in held:
            self._append(piece)

    def _weigh(self, piece: bytes) -> int:
        """A piece that may repeat what was there."""
        if self._held is not None:
            return self._hold(piece, self._held)
        if self._snapshots:
            return self._take_snapshot(piece)
        if self._pieces > 1 and self.size >= _PROOF_BYTES:
            if self._repeats_left and self._goes_on(piece):
                self._assembly.doubtful = True
                self._repeats_left -= 1
                return self._replace(piece)
            if self._resembles(piece):
                self._assembly.doubtful = True
        return self._append(piece)

    def _hold(self, piece: bytes, held: list[bytes]) -> int:
        """While it is open: counts the piece, and decides as soon as there is proof."""
        last = held[-1] if held else b""
        held.append(piece)
        if not piece.startswith(_sound(last)):
            self.finish()
            return len(piece)
        sizes = [len(one) for one in held]
        growths = sum(one < other for one, other in pairwise(sizes))
        repeats = len(held) - 1 - growths
        # Words over and over, in pieces that happen to grow, look like snapshots for a while.
        doubt = repeats + 2 * _is_repetitive(held[0], piece)
        # However many repeats lie between: sizes of increments do not rise for so long.
        often = growths >= _GROWTHS_PROVE
        if often or growths >= 2 + doubt or (growths > doubt and len(last) >= _PROOF_BYTES):
            self._held = None
            self._snapshots = True
            self._assembly.credit += growths - (0 if often else repeats)
            return self._replace(piece) - sum(sizes[:-1])
        if repeats > growths + 1 or sum(sizes) > _HELD_BYTES_MAX:
            self.finish()
        return len(piece)

    def _take_snapshot(self, piece: bytes) -> int:
        if len(piece) > self.size and self._goes_on(piece):
            self._assembly.credit += 1
            return self._replace(piece)
        self._assembly.credit -= 1
        if self._assembly.credit < 0:
            self._assembly.credit = 0
            self._snapshots = False
            return self._append(piece)
        if self._goes_on(piece) or self._resembles(piece):
            return self._replace(piece)
        # Another text begins: its pieces may be of either kind.
        self._snapshots = False
        self._held = [piece]
        self.size = 0
        self._head = self._tail = b""
        self._pieces = 0
        return len(piece)

    def _goes_on(self, piece: bytes) -> bool:
        """Whether the piece is all of the text so far, and maybe more: the same length, beginning
        and end."""
        return (
            len(piece) >= self.size
            and piece.startswith(self._head)
            and piece.endswith(self._tail, 0, self.size)
        )

    def _resembles(self, piece: bytes) -> bool:
        """Whether the piece looks like the text so far, changed: the same beginning, and hardly
        shorter."""
        return len(piece) >= self.size - _TRIMMED_BYTES_MAX and piece.startswith(
            self._head[:_PROOF_BYTES]
        )

    def _append(self, piece: bytes) -> int:
        if self.size < _HEAD_BYTES:
            self._head = (self._head + piece)[:_HEAD_BYTES]
        self.size += len(piece)
        self._tail = piece[-_HEAD_BYTES:]
        self._pieces += 1
        if self._texts is not None:
            self._texts.add(self._key, piece)
        return len(piece)

    def _replace(self, piece: bytes) -> int:
        """The text is this piece now; what stands beyond the text so far is new."""
        new = piece[self.size :]
        self.size = len(piece)
        self._head = piece[:_HEAD_BYTES]
        self._tail = piece[-_HEAD_BYTES:]
        self._pieces += 1
        if self._texts is not None and new:
            self._texts.add(self._key, new)
        return len(new)


def _is_repetitive(first: bytes, piece: bytes) -> bool:
    """Whether the piece goes on behind its beginning as it began."""
    behind = piece[len(first) :]
    return bool(behind) and piece.startswith(behind[: len(first)])


def _sound(piece: bytes) -> bytes:
    """The piece without the sign for half a character at its end, which the next snapshot has
    whole."""
    return piece[:-3] if piece.endswith(b"\xef\xbf\xbd") else piece
