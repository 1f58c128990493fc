"""The heads of one upstream's answers, known again by what they have in common.

A vendor sends the same lines each time, but for the values of a few: the date, an id, how much
remains of a limit. What follows from the others is worked out once.
"""

from __future__ import annotations

import re

from proxy.core.http.gaps import Template, mark
from proxy.core.http.headers import Fields, HeaderFilter, RawHeaders, field_lines
from proxy.core.http.response_head import (
    LENGTH_DIGITS_MAX,
    NO_BODY,
    AnswerHead,
    lines_of,
    read_head,
)

KEPT_BYTES_MAX = 4096  # of a head; a longer one may have lines that are large to keep
HEADS_MAX = 8  # of one upstream: answers, streams and errors of several kinds of servers
# They decide where an answer ends, so they must be the same.
_DECIDING = frozenset({b"connection", b"transfer-encoding"})
_LENGTH = b"content-length"
# A value between blanks: no control character but the tab. Its beginning is never looked for twice.
_VALUE = rb"[\t ]*+((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[\t ]*+"
_DIGITS = rb"[\t ]*+([0-9]{1,%d})[\t ]*+" % LENGTH_DIGITS_MAX
# To learn a head takes as long as to read a hundred. What is known again pays for it, so that a
# server whose heads are never alike is soon left to `read_head`.
_LEARN_COST, _CREDIT_MAX = 256, 32 * 256


class KnownHead:
    """A head, and the fields of it whose values may differ.

    It reads a head as `read_head` does. One regular expression finds all values that differ.
    """

    __slots__ = (
        "_head",
        "_length",
        "_lower",
        "_matches",
        "_names",
        "_places",
        "_repeated",
        "_written",
    )

    def __init__(self, head: AnswerHead, places: frozenset[int]) -> None:
        """`places`: of the fields that may differ, among all of the head's."""
        headers, code = head.headers, head.code
        self._head = head
        self._places = sorted(places)
        self._names = [headers[place][0] for place in self._places]
        self._lower = [name.lower() for name in self._names]
        # By name all places of what comes more than once and differs.
        self._repeated: list[tuple[bytes, list[int]]] = [
            (name, [place for place, pair in enumerate(headers) if pair[0].lower() == name])
            for name in set(self._lower)
            if len(headers.by_name[name]) > 1
        ]
        # Where the body's length stands among the values that differ; None: it is always the same.
        self._length: int | None = None
        if head.body_bytes is not None and code >= 200 and code not in NO_BODY:
            self._length = self._lower.index(_LENGTH)
        status_line, *lines = lines_of(head.raw)
        patterns = [re.escape(status_line)]
        for place, line in enumerate(lines):
            if place in places:
                name = headers[place][0]
                value = _DIGITS if name.lower() == _LENGTH else _VALUE
                patterns.append(re.escape(name + b":") + value)
            else:
                patterns.append(re.escape(line))
        self._matches = re.compile(b"\r\n".join([*patterns, b"", b""])).fullmatch
        # For which filter, and what `_write` made for it.
        self._written: tuple[HeaderFilter, Template] | None = None

    def read(self, raw: bytes) -> AnswerHead | None:
        """Reads a head that ends with its empty line; None if it differs in anything else."""
        found = self._matches(raw)
        if found is None:
            return None
        head, values = self._head, found.groups()
        pairs, by_name = list(head.headers), dict(head.headers.by_name)
        for place, pair in zip(self._places, zip(self._names, values, strict=True), strict=True):
            pairs[place] = pair
        by_name.update(zip(self._lower, zip(values), strict=True))
        for name, places in self._repeated:
            by_name[name] = [pairs[place][1] for place in places]
        length = self._length
        return AnswerHead(
            head.code,
            head.reason,
            Fields.indexed(pairs, by_name),
            head.chunked,
            head.body_bytes if length is None else int(values[length]),
            head.closes,
            raw,
            self,
            values,
        )

    def like(self, head: AnswerHead) -> KnownHead | None:
        """One that knows this head too; None if they differ in more than values."""
        mine, places = self._head, set(self._places)
        if mine.raw[: mine.raw.index(b"\r")] != head.raw[: head.raw.index(b"\r")]:
            return None
        if len(mine.headers) != len(head.headers):
            return None
        for place, (one, other) in enumerate(zip(mine.headers, head.headers, strict=True)):
            if one[0] != other[0]:
                return None
            if one[1] != other[1]:
                if one[0].lower() in _DECIDING:
                    return None
                places.add(place)
        return KnownHead(head, frozenset(places))

    def written(self, head: AnswerHead, chosen: HeaderFilter) -> bytes:
        """The lines of those fields that pass, of a head that this one has read."""
        written = self._written
        if written is None or written[0] is not chosen:
            self._written = written = chosen, self._write(chosen)
        return written[1].filled(head.differing)

    def _write(self, chosen: HeaderFilter) -> Template:
        headers: RawHeaders = [
            (name, mark(self._places.index(place)) if place in self._places else value)
            for place, (name, value) in enumerate(self._head.headers)
        ]
        return Template(field_lines(chosen.select(headers)))


class KnownHeads:
    """Reads the heads of one upstream's answers. It remembers the latest of each kind."""

    def __init__(self) -> None:
        self._known: list[KnownHead] = []  # the latest first
        self._credit = _CREDIT_MAX

    def read(self, raw: bytes) -> AnswerHead:
        """Reads a head that ends with its empty line. Raises MalformedAnswer."""
        if len(raw) > KEPT_BYTES_MAX:
            return read_head(raw)
        for known in self._known:
            head = known.read(raw)
            if head is not None:
                if known is not self._known[0]:
                    self._known.remove(known)
                    self._known.insert(0, known)
                if self._credit < _CREDIT_MAX:
                    self._credit += 1
                return head
        head = read_head(raw)
        if self._credit >= _LEARN_COST:
            self._credit -= _LEARN_COST
            self._learn(head)
        return head

    def _learn(self, head: AnswerHead) -> None:
        for place, known in enumerate(self._known):
            wider = known.like(head)
            if wider is not None:
                del self._known[place]
                break
        else:
            lengths = {
                place for place, pair in enumerate(head.headers) if pair[0].lower() == _LENGTH
            }
            wider = KnownHead(head, frozenset(lengths))
        self._known.insert(0, wider)
        del self._known[HEADS_MAX:]
