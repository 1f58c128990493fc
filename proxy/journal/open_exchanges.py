"""The exchanges that are open: the room kept for the end of each, and the segment that must stay as
it is until it has one.

This is all that the journal holds in memory of an exchange, and only while it is open: its opening
and its last mark, which says all that the
marks before it said. They can be written again, so that one long exchange does not keep every
segment since its beginning.
"""

from __future__ import annotations

from proxy.journal.segments import Segment


class OpenExchange:
    """One open exchange."""

    __slots__ = ("close_room", "mark", "marks_room", "opened", "segment")

    def __init__(self, opened: bytes, close_room: int, marks_room: int, segment: Segment) -> None:
        self.opened = opened  # payloads
        self.mark: bytes | None = None
        self.close_room = close_room  # bytes of frame kept for its close
        self.marks_room = marks_room  # bytes of frames still kept for marks
        self.segment: Segment | None = (
            segment  # holds its opening: it and all behind it stay; None once it has ended
        )


class OpenExchanges:
    """By exchange id. `kept` is the room promised to all of them."""

    def __init__(self) -> None:
        self.kept = 0
        self._by_id: dict[str, OpenExchange] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def in_segment(self, segment: Segment) -> list[OpenExchange]:
        return [opening for opening in self._by_id.values() if opening.segment is segment]

    def get(self, id: str) -> OpenExchange | None:
        return self._by_id.get(id)

    def add(self, id: str, opening: OpenExchange) -> None:
        assert id not in self._by_id, "an exchange is opened once"
        self._by_id[id] = opening
        self.kept += opening.close_room + opening.marks_room
        assert opening.segment is not None
        opening.segment.unresolved += 1

    def move(self, opening: OpenExchange, segment: Segment) -> None:
        """All that matters of the exchange now stands from this segment on."""
        assert opening.segment is not None
        opening.segment.unresolved -= 1
        opening.segment = segment
        segment.unresolved += 1

    def spend(self, opening: OpenExchange, size: int) -> bool:
        """Takes a mark of `size` out of the room kept for it; False if too little is left."""
        if opening.marks_room < size:
            return False
        opening.marks_room -= size
        self.kept -= size
        return True

    def resolve(self, id: str) -> OpenExchange | None:
        """It has its end, or will have: nothing is kept for it any more."""
        opening = self._by_id.pop(id, None)
        if opening is not None:
            self.kept -= opening.close_room + opening.marks_room
            assert opening.segment is not None
            opening.segment.unresolved -= 1
            opening.segment = None
        return opening
