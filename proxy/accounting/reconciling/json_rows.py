"""JSON of a billing API as rows: each innermost object, with what the objects around it say.

A page has buckets, and a bucket has results. A result's row has its own members, those of nested
objects with a point between (`amount.value`), and the members of its bucket. Any number of
documents may follow each other, as pages or as lines.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Final

import ijson

from proxy.core.reconciling.line_reader import UnreadableBill

ROWS_WAITING_MAX: Final = 100_000  # of one bucket; beyond it, what follows its results is not read
_NESTED_MAX: Final = 32
# What reading raises where a packed file breaks off.
BROKEN: Final = (OSError, EOFError, zipfile.BadZipFile, zlib.error)


class _Object:
    """An object that is being read.

    `listed`: an element of a list, or a document. `path`: the members that lead to it from the
    nearest such one. `rows`: those inside of it that wait for its last member.
    """

    __slots__ = ("divided", "listed", "members", "path", "rows")

    def __init__(self, listed: bool, path: str, members: dict[str, str]) -> None:
        self.listed = listed
        self.path = path
        self.members = members
        self.divided = False
        self.rows: list[dict[str, str]] = []


class _Bytes:
    """Text as a file of UTF-8."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text

    def read(self, size: int = -1) -> bytes:
        return self._text.read(size).encode("utf-8", "surrogatepass").removeprefix(b"\xef\xbb\xbf")


def json_rows(text: IO[str], name: str) -> Iterator[dict[str, str]]:
    """The rows of all documents. Raises UnreadableBill."""
    stack: list[_Object | None] = []  # None: a list
    keys: list[str] = []
    more = False
    try:
        for event, value in ijson.basic_parse(_Bytes(text), multiple_values=True):
            if event == "map_key":
                keys[-1] = value
            elif event == "start_map":
                stack.append(_begun(stack, keys))
                keys.append("")
                if len(stack) > _NESTED_MAX:
                    raise UnreadableBill(f"{name} is nested too deeply for a bill")
            elif event == "end_map":
                keys.pop()
                yield from _ended(stack)
            elif event == "start_array":
                stack.append(None)
            elif event == "end_array":
                stack.pop()
            elif stack and (inside := stack[-1]) is not None:
                if len(stack) == 1 and keys[-1] == "has_more":
                    more = value is True
                inside.members[f"{inside.path}{keys[-1]}"] = _text(event, value)
    except (ijson.JSONError, UnicodeError, ValueError, *BROKEN) as error:
        if isinstance(error, UnreadableBill):
            raise
        raise UnreadableBill(f"{name} is no whole JSON: {error}; download it again") from error
    if more:
        raise UnreadableBill(
            f"The last page of {name} says that more follow (has_more): ask for the next ones too, "
            "and append them to the file"
        )


def _begun(stack: list[_Object | None], keys: list[str]) -> _Object:
    around = stack[-1] if stack else None
    if around is not None:
        return _Object(False, f"{around.path}{keys[-1]}.", around.members)
    for outer in reversed(stack):
        if outer is not None:
            outer.divided = True
    return _Object(True, "", {})


def _ended(stack: list[_Object | None]) -> Iterator[dict[str, str]]:
    """The rows that are whole now."""
    ended = stack.pop()
    assert ended is not None and (ended.listed or stack), "an object ends that began"
    if not ended.listed:
        return
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
