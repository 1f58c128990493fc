"""JSON of a billing API as rows: each innermost object, with what the objects around it say.

A page has buckets, and a bucket has results. A result's row has its own members, those of nested
objects with a point between (`amount.value`), and the members of its bucket. Any number of
documents may follow each other, as pages or as lines.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Final

import ijson

from proxy.core.reconciling.line_reader import UnreadableBill

ROWS_WAITING_MAX: Final = 100_000  # of one bucket; beyond it, what follows its results is not read
_NESTED_MAX: Final = 32
VALUE_CHARS_MAX: Final = 1 << 20
MEMBERS_MAX: Final = 4096
# Members of a page that name the next one, and whether there is one; without `_`.
_MORE: Final = frozenset(("hasmore",))
_NEXT: Final = frozenset("nextpage nextpagetoken nexttoken nextcursor nextlink nexturl".split())
_TOTAL: Final = frozenset(("total", "totalcount"))
_SIZE: Final = frozenset(("pagesize", "size", "perpage", "maxresults"))
# What reading raises where a packed file breaks off.
BROKEN: Final = (OSError, EOFError, zipfile.BadZipFile, zlib.error)


class _Object:
    """An object that is being read.

    `listed`: an element of a list, or a document. `path`: the members that lead to it from the
    nearest such one. `rows`: those inside of it that wait for its last member. `count`: the objects
    of its lists.
    """

    __slots__ = ("count", "divided", "listed", "members", "path", "rows")

    def __init__(self, listed: bool, path: str, members: dict[str, str]) -> None:
        self.listed = listed
        self.path = path
        self.members = members
        self.divided = False
        self.count = 0
        self.rows: list[dict[str, str]] = []


class BillPages:
    """What the pages of an API say about each other. The files of one bill share it."""

    def __init__(self) -> None:
        self._more = False
        self._rows = self._total = 0
        self._name = ""

    def note(self, members: Mapping[str, str], rows: int, name: str) -> None:
        """Notes what a page says of others. `rows`: how many it has itself."""
        self._rows += rows
        said = {
            member.rpartition(".")[2].casefold().replace("_", ""): text
            for member, text in members.items()
        }
        more = [text for member, text in said.items() if member in _MORE]
        following = [text for member, text in said.items() if member in _NEXT]
        if more or following:
            self._more = (more == ["true"]) if more else any(following)
            self._name = name
        for member in _TOTAL & set(said):
            # A sum of something has the same name: only a page that has a size counts rows.
            if said[member].isdigit() and _SIZE & set(said):
                self._total = max(self._total, int(said[member]))
                self._name = name

    def check(self) -> None:
        """Raise UnreadableBill if pages are missing."""
        if self._more:
            raise UnreadableBill(
                f"The last page of {self._name} says that more follow: ask for the next ones too, "
                "and give all of them in their order"
            )
        if self._rows < self._total:
            raise UnreadableBill(
                f"{self._name} says that there are {self._total:,} rows, and has "
                f"{self._rows:,}: ask for the other pages too, and give all of them"
            )


class _Bytes:
    """Text as a file of UTF-8. `quiet`: how much was read since anything was found in it."""

    def __init__(self, text: IO[str], name: str) -> None:
        self._text = text
        self._name = name
        self.quiet = 0

    def read(self, size: int = -1) -> bytes:
        if self.quiet > VALUE_CHARS_MAX:
            raise UnreadableBill(
                f"{self._name} has a text or a number of more than {VALUE_CHARS_MAX:,} characters: "
                "no bill has"
            )
        self.quiet += size
        return self._text.read(size).encode("utf-8", "surrogatepass").removeprefix(b"\xef\xbb\xbf")


def json_rows(text: IO[str], name: str, pages: BillPages | None = None) -> Iterator[dict[str, str]]:
    """The rows of all documents. Raises UnreadableBill.

    `pages`: notes what they say of each other. Without it, they are taken to be the whole bill.
    """
    noted = BillPages() if pages is None else pages
    stack: list[_Object | None] = []  # None: a list
    keys: list[str] = []
    try:
        source = _Bytes(text, name)
        for event, value in ijson.basic_parse(source, multiple_values=True):
            source.quiet = 0
            if event == "map_key":
                keys[-1] = value
            elif event == "start_map":
                stack.append(_begun(stack, keys))
                keys.append("")
                if len(stack) > _NESTED_MAX:
                    raise UnreadableBill(f"{name} is nested too deeply for a bill")
            elif event == "end_map":
                keys.pop()
                yield from _ended(stack, noted, name)
            elif event == "start_array":
                stack.append(None)
            elif event == "end_array":
                stack.pop()
            elif stack and (inside := stack[-1]) is not None:
                if len(inside.members) >= MEMBERS_MAX:
                    raise UnreadableBill(
                        f"{name} has an object of more than {MEMBERS_MAX:,} members"
                    )
                inside.members[f"{inside.path}{keys[-1]}"] = _text(event, value)
    except (ijson.JSONError, UnicodeError, ValueError, *BROKEN) as error:
        if isinstance(error, UnreadableBill):
            raise
        raise UnreadableBill(f"{name} is no whole JSON: {error}; download it again") from error
    if pages is None:
        noted.check()


def _begun(stack: list[_Object | None], keys: list[str]) -> _Object:
    around = stack[-1] if stack else None
    if around is not None:
        return _Object(False, f"{around.path}{keys[-1]}.", around.members)
    nearest = True
    for outer in reversed(stack):
        if outer is not None:
            outer.divided = True
            outer.count += nearest
            nearest = nearest and not outer.listed
    return _Object(True, "", {})


def _ended(stack: list[_Object | None], pages: BillPages, name: str) -> Iterator[dict[str, str]]:
    """The rows that are whole now."""
    ended = stack.pop()
    assert ended is not None and (ended.listed or stack), "an object ends that began"
    if not ended.listed:
        return
    # A page without rows has no lists of objects either.
    if ended.divided or "has_more" in ended.members:
        pages.note(ended.members, ended.count, name)
    if ended.divided:
        rows = [ended.members | row for row in ended.rows]
    else:
        rows = [ended.members]
    bucket = next((outer for outer in reversed(stack) if outer is not None and outer.listed), None)
    # Members of the document itself, as its page, are no part of a row: nothing waits for them.
    inner = sum(outer is not None and outer.listed for outer in stack) > 1
    if bucket is not None and (inner or (len(stack) and stack[0] is None)):
        bucket.rows += rows
        if len(bucket.rows) > ROWS_WAITING_MAX:
            yield from [bucket.members | row for row in bucket.rows]
            bucket.rows.clear()
    else:
        yield from rows


def _text(event: str, value: object) -> str:
    if event == "null":
        return ""
    return str(value).lower() if event == "boolean" else str(value)
