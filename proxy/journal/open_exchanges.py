"""The open exchanges: the room kept for the end of each, and the segment that must stay for it.

The journal holds no more in memory of an exchange, and only while it is open: its opening and its
last mark, which repeats all that the marks before it said. Both can be written again, so that one
long exchange does not keep every segment since its beginning.
"""

from __future__ import annotations

from proxy.core.ids import made_at_ms
from proxy.journal.segments import Segment


class OpenExchange:
    """One open exchange."""

    __slots__ = ("close_room", "mark", "marks_room", "opened", "segment")

    def __init__(self, opened: bytes, close_room: int, marks_room: int, segment: Segment) -> None:
        self.opened = opened  # payloads
        self.mark: bytes | None = None
        self.close_room = close_room  # bytes of frame kept for its close
        self.marks_room = marks_room  # bytes of frames still kept for marks
        # holds its opening: it and all behind it stay; None once it has ended
        self.segment: Segment | None = segment


class OpenExchanges:
    """By exchange id. `kept` is the room promised to all of them."""

    def __init__(self) -> None:
        self.kept = 0
        self._by_id: dict[str, OpenExchange] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def oldest_ms(self) -> int | None:
        """About when the one began that has been open longest; None: none is open.

        0 for an id that does not say.
        """
        first = next(iter(self._by_id), None)
        try:
            return None if first is None else made_at_ms(first)
        except ValueError:
            return 0

    def in_segment(self, segment: Segment) -> list[OpenExchange]:
        return [opening for opening in self._by_id.values() if opening.segment is segment]

    def get(self, id: str) -> OpenExchange | None:
        return self._by_id.get(id)

    def add(self, id: str, opening: OpenExchange) -> None:
        assert id not in self._by_id, "an exchange is opened once"
        self._by_id[id] = opening
        self.kept += opening.close_room + opening.marks_room
        assert opening.segment is not None
        opening.segment.hold()

    def move(self, opening: OpenExchange, segment: Segment) -> None:
        """The exchange now stands from this segment on: its entries were written again."""
        assert opening.segment is not None
        opening.segment.free()
        opening.segment = segment
        segment.hold()

    def spend(self, opening: OpenExchange, size: int) -> bool:
        """Takes a mark of `size` out of the room kept for it; False if too little is left."""
        if opening.marks_room < size:
            return False
        opening.marks_room -= size
        self.kept -= size
        return True

    def resolve(self, id: str) -> OpenExchange | None:
        """Removes an exchange that has its end, or will have it; its room is free."""
        opening = self._by_id.pop(id, None)
        if opening is not None:
            self.kept -= opening.close_room + opening.marks_room
            assert opening.segment is not None
            opening.segment.free()
            opening.segment = None
        return opening
