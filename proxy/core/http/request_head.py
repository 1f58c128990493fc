"""A request's head, and how one is known again that has been read before.

A client sends the same head with each of its requests, but for the digits of Content-Length. What
follows from a head alone is the same then, so a connection reads it once.
"""

from __future__ import annotations

import re

from proxy.core.http.headers import Fields, RawHeaders

KEPT_MAX = 4096  # bytes of a head that a connection keeps
_END = b"\r\n\r\n"
_LENGTH = b"ength: "
_LINE = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,9})\r\n(?![ \t])")


class RequestHead:
    """Method, target, version and header fields as they came.

    `key`: what `outline` says of its bytes, if it may be known again by them. `known`: what was
    worked out of it, for who did. The Content-Length among the fields is that of the first request.
    """

    __slots__ = ("headers", "http10", "key", "known", "method", "target", "version")

    def __init__(
        self, method: str, target: str, version: tuple[int, int], fields: RawHeaders
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.http10 = version < (1, 1)
        self.headers = Fields(fields)
        self.key: bytes | None = None
        self.known: object = None

    def remember(self, known: object) -> None:
        """Keeps what was found to follow from it."""
        self.known = known

    @property
    def content_length(self) -> int | None:
        """As the first request of this head has it."""
        values = self.headers.by_name.get(b"content-length")
        return int(values[0]) if values is not None and values[0].isdigit() else None

    def learn(self, data: bytes) -> bool:
        """Remembers the bytes of this head, which a parser has read at the beginning of `data`.

        False, and nothing is kept, unless they are plain: each line ends as it should, and the
        first digits that `outline` would take for the length are the only length there is.
        """
        outlined = outline(data)
        if outlined is None:
            return False
        key, length, start = outlined
        named = self.headers.by_name
        line = _LINE.search(data, 0, start)
        if (
            start > KEPT_MAX
            or line is None
            or line.start(1) != key.find(_LENGTH) + len(_LENGTH)
            or named.get(b"content-length") != [line[1]]
            or int(line[1]) != length
            or b"transfer-encoding" in named
            or b"upgrade" in named
            or not data.startswith(self.method.encode() + b" ")
            or data.count(b"\n", 0, start) != data.count(b"\r\n", 0, start)
        ):
            return False
        self.key = key
        return True

    def begins(self, key: bytes) -> bool:
        """Whether these are the bytes that were learned.

        The hashes are compared first, so that the time taken tells nothing about the credential in
        them to others on the same connection.
        """
        return self.key is not None and hash(key) == hash(self.key) and key == self.key


def outline(data: bytes) -> tuple[bytes, int, int] | None:
    """(key, length, where the body begins) of the head that `data` begins with.

    The key is the head without the digits of its length. None where there is no whole head, or no
    length in it.
    """
    end = data.find(_END)
    at = data.find(_LENGTH, 0, end) + len(_LENGTH)
    if end < 0 or at < len(_LENGTH):
        return None
    stop = data.find(b"\r", at)
    digits = data[at:stop]
    if not digits.isdigit() or len(digits) > 9:
        return None
    return data[:at] + data[stop:end], int(digits), end + len(_END)
