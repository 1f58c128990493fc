"""Work, counted and not timed: calls of Python and C functions, bytes that regular expressions look
at, bytes that are copied to be joined to what is held."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType

import pytest


class Work:
    """Counts while `counting`. Give readers `Piece`s, and let `watch` see to their modules'
    patterns."""

    def __init__(self) -> None:
        self.done = 0

    def counting(self, run: Callable[[], object]) -> int:
        """What `run` takes."""
        self.done = 0
        before = sys.getprofile()
        sys.setprofile(self._called)
        try:
            run()
        finally:
            sys.setprofile(before)
        return self.done

    def watch(self, patch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """Counts what the patterns of these modules look at."""
        for module in modules:
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern):
                    patch.setattr(module, name, Looking(value, self))

    def piece(self, data: bytes) -> bytes:
        """The same bytes; joining them to others counts what is copied."""
        work = self

        class Piece(bytes):
            def __radd__(self, held: bytes) -> bytes:
                if isinstance(held, bytearray):
                    return NotImplemented  # which grows in place
                work.done += len(held)
                return held + bytes(self)

            def __add__(self, other: bytes) -> bytes:
                work.done += len(self)
                return bytes(self) + bytes(other)

        return Piece(data)

    def _called(self, frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self.done += 1


class Looking:
    """A compiled pattern that counts the distance from where it begins to the end of what it finds,
    or to the end of all if it finds nothing."""

    def __init__(self, pattern: re.Pattern[bytes], work: Work) -> None:
        self._pattern = pattern
        self._work = work

    def match(self, data: bytes, start: int = 0, *end: int) -> re.Match[bytes] | None:
        return self._counted(
            self._pattern.match(data, start, *end), start, end[0] if end else len(data)
        )

    def search(self, data: bytes, start: int = 0, *end: int) -> re.Match[bytes] | None:
        return self._counted(
            self._pattern.search(data, start, *end), start, end[0] if end else len(data)
        )

    def findall(self, data: bytes, start: int = 0) -> list[object]:
        self._work.done += len(data) - start
        return self._pattern.findall(data, start)

    def finditer(self, data: bytes, start: int = 0) -> Iterator[re.Match[bytes]]:
        self._work.done += len(data) - start
        return self._pattern.finditer(data, start)

    def fullmatch(self, data: bytes) -> re.Match[bytes] | None:
        self._work.done += len(data)
        return self._pattern.fullmatch(data)

    def sub(self, new: bytes, data: bytes) -> bytes:
        self._work.done += len(data)
        return self._pattern.sub(new, data)

    def _counted(
        self, found: re.Match[bytes] | None, start: int, end: int
    ) -> re.Match[bytes] | None:
        self._work.done += (found.end() if found else end) - start
        return found
