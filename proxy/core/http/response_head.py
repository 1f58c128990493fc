"""Takes the heads of an upstream's answer from its bytes, as strict as with requests.

The parser behind this one forgives much (bare LF, NUL, control characters, any version), and what
one reader forgives another reads differently.
"""

from __future__ import annotations

import re

import msgspec

from proxy.core.http.headers import Fields, RawHeaders, index

HEAD_BYTES_MAX = 256 * 1024  # of one head; some vendors' policies are lines of 64 KiB
NO_BODY = frozenset({204, 304})
_END = b"\r\n\r\n"
_START = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}[ \r]")
_BARE_LF = re.compile(rb"(?<!\r)\n")
# The end of a line, behind which a name and its colon stand, or nothing. White space before the
# name or the colon has two readings.
_LINE_END = re.compile(rb"\r\n(?=[!#$%&'*+.^_`|~0-9A-Za-z-]+:|\r\n|\Z)")
_TEXT = bytes(
    [0x09, *range(0x20, 0x7F), *range(0x80, 0x100)]
)  # all that may stand in a line: no control character but the tab


class AnswerHead(msgspec.Struct, frozen=True, gc=False):
    """The head of an upstream's answer, as it came. `chunked`: how its body is framed."""

    code: int
    reason: str
    headers: Fields
    chunked: bool


class MalformedAnswer(Exception):
    """An answer that readers could take for different ones. The message says what the upstream did
    and quotes nothing of it."""


def not_well_formed() -> MalformedAnswer:
    return MalformedAnswer("answered with a head that is not well-formed HTTP/1.1")


class HeadReader:
    """Cuts one head after the other from the bytes of an answer. It remembers how far it has
    searched, so that no cutting makes it slow."""

    def __init__(self) -> None:
        self._begun = bytearray()  # of a head that is not whole yet

    def take(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The next head with its empty line, and what follows it; None while it is not whole.
        Raises MalformedAnswer."""
        begun = self._begun
        if begun:
            searched = max(0, len(begun) - len(_END) + 1)
            begun += data
            at = begun.find(_END, searched)
            data = b"" if at < 0 else bytes(begun)
        else:
            searched = 0
            data = data.lstrip(b"\r\n")  # empty lines before an answer say nothing
            at = data.find(_END)
            begun += data if at < 0 else b""
        if at < 0:
            self._judge_beginning(searched)
            return None
        begun.clear()
        end = at + len(_END)
        if end > HEAD_BYTES_MAX:
            raise _too_long()
        if not _well_formed(data[:end]):
            raise not_well_formed()
        return data[:end], data[end:]

    def _judge_beginning(self, searched: int) -> None:
        """What can never become a head is refused at once: nothing need follow it."""
        begun = self._begun
        if len(begun) > HEAD_BYTES_MAX:
            raise _too_long()
        start = bytes(begun[: len(_START)])
        if not _START.startswith(start) or _BARE_LF.search(begun, searched):
            raise not_well_formed()


def _well_formed(head: bytes) -> bool:
    """Whether a head is lines of text, each ended by CRLF and none folded, with proper names.

    The parser takes `Content-Length :` for a name.
    """
    ends = head.translate(None, _TEXT)  # whatever is no text can only be line ends, in pairs
    count = len(ends) >> 1
    return (
        ends == b"\r\n" * count
        and len(_LINE_END.findall(head)) == count
        and _STATUS_LINE.match(head) is not None
    )


def body_bytes(status: int, version: tuple[int, int], headers: RawHeaders) -> int | None:
    """How long the body is by its head; None if its chunks or the end of the connection say it.
    Raises MalformedAnswer where readers could differ."""
    named = index(headers)
    codings, lengths = named.get(b"transfer-encoding"), named.get(b"content-length")
    if status in NO_BODY:
        return 0  # whatever is said of a body: 304 says how long it would be
    if codings:
        if len(codings) > 1 or codings[0].strip().lower() != b"chunked":
            raise MalformedAnswer("answered in a transfer coding other than `chunked`")
        if lengths:
            raise MalformedAnswer("answered with both Content-Length and Transfer-Encoding")
        if version == (1, 0):
            raise MalformedAnswer("answered in chunks under HTTP/1.0, which has none")
        return None
    if not lengths:
        return None
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise MalformedAnswer("answered with a Content-Length that is not one number")
    return int(lengths[0])


def _too_long() -> MalformedAnswer:
    return MalformedAnswer(f"answered with a head of more than {HEAD_BYTES_MAX >> 10} KiB")
