"""Takes the heads of an upstream's answer from its bytes, as strict as with requests.

The parser behind this one forgives much (bare LF, NUL, control characters, any version), and what
one reader forgives another reads differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from proxy.core.http.headers import Fields

HEAD_BYTES_MAX = 256 * 1024  # of one head; some vendors' policies are lines of 64 KiB
LINE_BYTES_MAX = 64 * 1024  # of one field; some vendors' policies exceed 8 KiB
FIELDS_MAX = 128
NO_BODY = frozenset({204, 304})
_END = b"\r\n\r\n"
_START = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}[ \r]")
_BARE_LF = re.compile(rb"(?<!\r)\n")
# White space before a name, or between it and its colon, has two readings.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
LENGTH_DIGITS_MAX = 18  # more than any answer has, and a number that every reader can hold
# All that may stand in a line: no control character but the tab.
_TEXT = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])


class AnswerHead(msgspec.Struct, frozen=True, gc=False):
    """The head of an upstream's answer, as it came. `raw` is all of it.

    `body_bytes`: how long the body is; None where its chunks (`chunked`) or the end of the
    connection say it. `closes`: the connection carries no further answer. `known`: which head that
    has come before it is like but for the values `differing`, for who remembers them.
    """

    code: int
    reason: bytes
    headers: Fields
    chunked: bool
    body_bytes: int | None
    closes: bool
    raw: bytes
    known: object = None
    differing: Sequence[bytes] = ()


class MalformedAnswer(Exception):
    """An answer that readers could take for different ones. The message says what the upstream did
    and quotes nothing of it."""


def not_well_formed() -> MalformedAnswer:
    return MalformedAnswer("answered with a head that is not well-formed HTTP/1.1")


class HeadReader:
    """Cuts one head after the other from the bytes of an answer, and has them read by `read`. It
    remembers how far it has searched, so that no cutting makes it slow."""

    __slots__ = ("_begun", "_read")

    def __init__(self, read: Callable[[bytes], AnswerHead]) -> None:
        self._begun = bytearray()  # of a head that is not whole yet
        self._read = read

    def take(self, data: bytes) -> tuple[AnswerHead, bytes] | None:
        """The next head, and what follows it; None while it is not whole. Raises
        MalformedAnswer."""
        begun = self._begun
        searched = 0
        if begun:
            searched = max(0, len(begun) - len(_END) + 1)
            begun += data
            at = begun.find(_END, searched)
            if at >= 0:
                data = bytes(begun)
                begun.clear()
        else:
            if not data.startswith(_START):
                data = data.lstrip(b"\r\n")  # empty lines before an answer say nothing
            at = data.find(_END)
            if at < 0:
                begun += data
        if at < 0:
            self._judge_beginning(searched)
            return None
        end = at + len(_END)
        if end > HEAD_BYTES_MAX:
            raise _too_long()
        return self._read(data[:end]), data[end:]

    def _judge_beginning(self, searched: int) -> None:
        """What can never become a head is refused at once: nothing need follow it."""
        begun = self._begun
        if len(begun) > HEAD_BYTES_MAX:
            raise _too_long()
        start = bytes(begun[: len(_START)])
        if not _START.startswith(start) or _BARE_LF.search(begun, searched):
            raise not_well_formed()


def lines_of(raw: bytes) -> list[bytes]:
    """The lines of a head that ends with its empty line, the status line first. Raises
    MalformedAnswer unless each is text, and ended by CRLF."""
    ends = raw.translate(None, _TEXT)  # whatever is no text can only be line ends, in pairs
    lines = raw[: -len(_END)].split(b"\r\n")
    if ends != b"\r\n" * (len(lines) + 1):
        raise not_well_formed()
    return lines


def read_head(raw: bytes) -> AnswerHead:
    """Reads a head that ends with its empty line. Raises MalformedAnswer.

    A head is lines of text, each ended by CRLF and none folded, with proper names.
    """
    lines = lines_of(raw)
    if _STATUS_LINE.match(raw) is None:
        raise not_well_formed()
    if len(lines) > FIELDS_MAX + 1 or (len(raw) > LINE_BYTES_MAX and _has_long_line(lines)):
        raise _too_long()
    status_line = lines.pop(0)
    headers = Fields(map(_field, lines))
    code = int(status_line[9:12])
    http10 = status_line[7:8] == b"0"
    chunked, length = _framing(code, http10, headers.by_name)
    closes = (length is None and not chunked) or _closes(http10, headers.by_name)
    return AnswerHead(code, status_line[13:], headers, chunked, length, closes, raw)


def _field(line: bytes) -> tuple[bytes, bytes]:
    """A field's name and value. Raises MalformedAnswer."""
    name, colon, value = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None:
        raise not_well_formed()
    return name, value.strip(b" \t")


def _has_long_line(lines: list[bytes]) -> bool:
    return max(map(len, lines)) > LINE_BYTES_MAX


def _framing(
    code: int, http10: bool, named: Mapping[bytes, Sequence[bytes]]
) -> tuple[bool, int | None]:
    """Whether the body is chunked, and its length where the head says it. Raises MalformedAnswer
    where readers could differ."""
    if code in NO_BODY or code < 200:
        return False, 0  # whatever is said of a body: 304 says how long it would be
    lengths = named.get(b"content-length")
    codings = named.get(b"transfer-encoding")
    if codings is not None:
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise MalformedAnswer("answered in a transfer coding other than `chunked`")
        if lengths is not None:
            raise MalformedAnswer("answered with both Content-Length and Transfer-Encoding")
        if http10:
            raise MalformedAnswer("answered in chunks under HTTP/1.0, which has none")
        return True, None
    if lengths is None:
        return False, None
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > LENGTH_DIGITS_MAX:
        raise MalformedAnswer("answered with a Content-Length that is not one number")
    return False, int(lengths[0])


def _closes(http10: bool, named: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Whether the connection ends behind this answer: HTTP/1.1 says if so, HTTP/1.0 if not."""
    said = named.get(b"connection")
    if said is None:
        return http10
    options = [option.strip(b" \t") for option in b",".join(said).lower().split(b",")]
    return b"close" in options or (http10 and b"keep-alive" not in options)


def _too_long() -> MalformedAnswer:
    return MalformedAnswer(f"answered with a head of more than {HEAD_BYTES_MAX >> 10} KiB")
