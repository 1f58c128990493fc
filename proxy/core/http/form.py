"""Reads a form (`multipart/form-data`) as it passes, for the fields that are no files.

Readers of forms differ: in what ends a line, in what stands in front of the first part, in parts
inside of parts. A caller could hide a field from one of them. So only the form is taken that all of
them read alike, as every known client writes it, and anything else is 415. The boundary may stand
nowhere but where it ends a part.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from proxy.core.errors import ProxyError

FIELDS_BYTES_MAX: Final = 128 * 1024  # of all fields that are no files: a long prompt fits
PARTS_MAX: Final = 1024
_HEAD_BYTES_MAX: Final = 8 * 1024  # of one part
_BOUNDARY = rb'boundary=(?:([\w.+=-]{1,70})|"([\w.+=-]{1,70})")'
_TYPE = re.compile(
    rb"multipart/form-data(?:[ \t]*;[ \t]*(?:%b|charset=\"?utf-?8\"?))+[ \t]*" % _BOUNDARY,
    re.IGNORECASE | re.ASCII,
)
_HEADER = re.compile(rb"([A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
# Nothing that one reader takes for an escape or an end, and another does not.
_VALUE = rb'("[^"\\\r\n\0]*"|[\w.\[\]-]+)'
_DISPOSITION = re.compile(
    rb"form-data;[ \t]*name=%b(?:;[ \t]*filename=%b)?"
    rb"(?:;[ \t]*filename\*=[\w-]+'[\w-]*'[\w%%.!#$&+^`|~-]*)?" % (_VALUE, _VALUE),
    re.IGNORECASE | re.ASCII,
)
_AS_IT_IS: Final = (b"binary", b"8bit", b"7bit")
_PLAIN_CHARSETS: Final = (b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1")
_CHARSET = re.compile(rb'charset[^=;]*=[ \t]*"?([^";]*)', re.IGNORECASE)
_CHARSET_FIELD: Final = "_charset_"  # says how a browser wrote all other fields


class FormPart(NamedTuple):
    """One part, whole. `content`: of a file only if it is so short that it may be a field's."""

    name: str
    is_file: bool
    content: bytes


class FormReader:
    """`feed` it each piece before it is sent on, and `end` before the last byte is. Both raise
    ProxyError. It keeps a piece and the fields' bytes at most, and looks at each byte once."""

    def __init__(self, boundary: bytes) -> None:
        self._mark = boundary
        self._pending = bytearray(b"\r\n")  # so the first boundary is like the others
        self._parts = 0
        self._in_head = False
        self._over = False
        self._name: str | None = None  # of the part that is read; None before the first
        self._is_file = False
        self._content: bytearray | None = None  # None: it is too long for a field
        self._left_bytes = FIELDS_BYTES_MAX

    def feed(self, piece: bytes) -> list[FormPart]:
        """The parts that end in this piece."""
        self._pending += piece
        found: list[FormPart] = []
        while self._read_head() if self._in_head else self._read_content(found):
            pass
        return found

    def end(self) -> None:
        """The body is over. A part without an end is read by some, and was not looked at."""
        if not self._over:
            raise _refused("ends before its last boundary")

    def _read_content(self, found: list[FormPart]) -> bool:
        """Up to the next boundary. False: more has to come."""
        pending, size = self._pending, len(self._mark)
        if self._over:
            if bytes(pending[:3]) not in (b"", b"\r", b"\r\n"):
                raise _refused("goes on behind its last boundary")
            return False
        at = pending.find(self._mark)
        if at < 0:
            self._take(len(pending) - size - 3)  # what a boundary may still begin in stays
            return False
        if len(pending) < at + size + 2:
            return False
        behind = bytes(pending[at + size : at + size + 2])
        if bytes(pending[max(0, at - 4) : at]) != b"\r\n--" or behind not in (b"\r\n", b"--"):
            raise _refused("holds its boundary where no part ends")
        self._take(at - 4)
        del pending[: size + 6]
        if self._name is not None and self._content is not None:
            found.append(FormPart(self._name, self._is_file, bytes(self._content)))
        self._in_head, self._over = behind == b"\r\n", behind == b"--"
        return True

    def _take(self, size: int) -> None:
        """So many bytes more of the part's content."""
        if size <= 0:
            return
        if self._name is None:
            raise _refused("does not begin with its boundary")
        if self._content is not None:
            if size <= self._left_bytes:
                self._content += self._pending[:size]
                self._left_bytes -= size
            elif self._is_file:
                self._left_bytes += len(self._content)
                self._content = None
            else:
                raise _too_much(f"fields of more than {FIELDS_BYTES_MAX} bytes that are no files")
        del self._pending[:size]

    def _read_head(self) -> bool:
        end = self._pending.find(b"\r\n\r\n", 0, _HEAD_BYTES_MAX)
        if end < 0:
            if len(self._pending) >= _HEAD_BYTES_MAX:
                raise _refused("has a part with a head that is too long")
            return False
        head = bytes(self._pending[:end])
        if self._mark in head:
            raise _refused("holds its boundary where no part ends")
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise _too_much(f"more than {PARTS_MAX} parts")
        self._name, self._is_file = _part(head)
        self._content = bytearray()
        self._in_head = False
        del self._pending[: end + 4]
        return True


def boundary_of(content_type: bytes) -> bytes:
    """The boundary of a form. Raises 415 where readers may find another one, or none."""
    found = _TYPE.fullmatch(content_type.strip(b" \t"))
    if found is None or content_type.lower().count(b"boundary=") != 1:
        raise _refused("has a Content-Type that readers may take in different ways")
    return found[1] or found[2]


def _part(head: bytes) -> tuple[str, bool]:
    """The name of a part, and whether all readers take it for a file."""
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None or header[1].lower() in headers:
            raise _refused("has a part with a head that cannot be read, or says something twice")
        headers[header[1].lower()] = header[2]
    _check_as_it_is(headers)
    disposition = _DISPOSITION.fullmatch(headers.pop(b"content-disposition", b""))
    headers.pop(b"content-length", None)
    if disposition is None or headers:
        raise _refused("has a part whose head says more than a name, a file name and a type")
    name = disposition[1].strip(b'"').decode("utf-8", "replace")
    if name.lower() == _CHARSET_FIELD:
        raise _refused("names a charset of its own")
    return name, bool((disposition[2] or b"").strip(b'"'))


def _check_as_it_is(headers: dict[bytes, bytes]) -> None:
    """Raises where a part is coded, is in another charset, or holds parts of its own."""
    kind = headers.pop(b"content-type", b"").lower()
    coding = headers.pop(b"content-transfer-encoding", b"binary").lower()
    charsets = _CHARSET.findall(kind)
    plain = all(charset.strip() in _PLAIN_CHARSETS for charset in charsets)
    if (
        coding not in _AS_IT_IS
        or kind.startswith((b"multipart/", b"message/"))
        or not plain
        or kind.count(b"charset") != len(charsets)
    ):
        raise _refused("has a part that is coded, in another charset, or made of parts")


def _refused(why: str) -> ProxyError:
    message = (
        f"The form of this request {why}. Here objects belong to teams, so a form has to be written"
        " in the one way that all servers read alike."
    )
    return ProxyError(415, "invalid_request_error", "unsupported_media_type", message)


def _too_much(what: str) -> ProxyError:
    message = f"The form of this request has {what}."
    return ProxyError(413, "invalid_request_error", "request_too_large", message)
