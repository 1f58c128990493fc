"""Hides credentials in what an upstream answers.

Vendors quote the operator's key in errors, headers and events, and it is no client's business. A
key is replaced by as many asterisks, so that lengths and framing stay. Where bytes come in chunks,
a key may lie across two of them.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from urllib.parse import quote

from proxy.core.http.content_coding import Decoder

SECRET_CHARS_MIN = 8  # shorter ones would be found by chance in any text, and keep nobody out
# Of a compressed answer: errors are short, and each byte is decoded once more for this.
WATCHED_BYTES_MAX = 64 * 1024
_ESCAPED_BY_SOME = re.compile("[+&<>'`]")
# What people write for servers that ask for a key and look at none: words that answers may hold.
_NO_SECRETS = frozenset(
    {
        "not-needed",
        "not-required",
        "no-key-required",
        "sk-no-key-required",
        "lm-studio",
        "placeholder",
        "dummy-key",
        "anything",
        "undefined",
    }
)


class Masking:
    """The secrets of one upstream, in each form that an answer may quote them in."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms: dict[bytes, None] = {}
        for secret in secrets:
            if len(secret) >= SECRET_CHARS_MIN and secret.lower() not in _NO_SECRETS:
                for form in _forms(secret):
                    forms[form.encode("latin-1", "replace")] = None
        self.forms = tuple(sorted(forms, key=len, reverse=True))
        self._bytes_min = min(map(len, self.forms), default=0)
        # A string in JSON shorter than a secret holds none, nor part of one that goes on outside.
        apart = not any(sign in form for form in self.forms for sign in b'"\r\n')
        self.string_bytes_max = self._bytes_min - 1 if apart and self.forms else 0
        # After any other byte no secret is under way.
        self.inner_bytes = frozenset(byte for form in self.forms for byte in form[:-1])

    def __bool__(self) -> bool:
        return bool(self.forms)

    def found_in(self, data: bytes) -> bool:
        """Whether a secret stands in it."""
        for form in self.forms:  # noqa: SIM110  a loop takes a third of the time of `any`
            if form in data:
                return True
        return False

    def masked(self, data: bytes) -> bytes:
        """The same length without the secrets."""
        if len(data) < self._bytes_min:
            return data
        for form in self.forms:
            if form in data:
                data = data.replace(form, b"*" * len(form))
        return data

    def open_bytes(self, data: bytes) -> int:
        """How many of the last bytes may be the beginning of a secret."""
        longest = 0
        for form in self.forms:
            at = data.find(form[:1], max(len(data) - len(form) + 1, 0))
            while at >= 0 and not form.startswith(data[at:]):
                at = data.find(form[:1], at + 1)
            if at >= 0:
                longest = max(longest, len(data) - at)
        return longest


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it is, in JSON and in a URL, in hex and in base64. JSON's writers differ: .NET's
    has `\\u002B` for a plus, Go's `\\u003c`, PHP's `\\/`."""
    slashed, url = secret.replace("/", "\\/"), quote(secret, safe="")
    lower = _ESCAPED_BY_SOME.sub(lambda sign: f"\\u{ord(sign[0]):04x}", secret)
    upper = _ESCAPED_BY_SOME.sub(lambda sign: f"\\u{ord(sign[0]):04X}", secret)
    data = secret.encode("latin-1", "replace")
    coded = (data.hex(), data.hex().upper(), *_in_base64(data))
    return (secret, slashed, url, lower, upper, *coded)


def _in_base64(data: bytes) -> list[str]:
    """The letters of base64 that tell it, for each of the three places at which it may begin in
    what was encoded: alone, or behind a user's name and a colon."""
    forms = []
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        for encode in (b64encode, urlsafe_b64encode):
            forms.append(encode(bytes(before) + data)[first:last].decode())
    return forms


class Mask:
    """One answer's bytes as they flow by: `feed` gives back what can go, `end` the rest.

    found · a secret was hidden in it
    """

    __slots__ = ("_masking", "_open", "found")

    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        self._open = b""
        self.found = False

    @property
    def string_bytes_max(self) -> int:
        """A string in JSON that is no longer may pass unsearched between what passed before.

        0: none may.
        """
        return 0 if self._open or self.found else self._masking.string_bytes_max

    def feed(self, chunk: bytes) -> bytes:
        masking = self._masking
        if self._open:
            chunk = self._open + chunk
            self._open = b""
        data = masking.masked(chunk)
        if data is not chunk:
            self.found = True
        if not data or data[-1] not in masking.inner_bytes:
            return data  # the usual end: of an event, or of an object
        kept = masking.open_bytes(data)
        if not kept:
            return data
        self._open = data[-kept:]
        return data[:-kept]

    def last(self, chunk: bytes) -> bytes:
        """What can go of the last bytes: all that is left."""
        data = self._open + chunk if self._open else chunk
        self._open = b""
        return self._masking.masked(data)


class Watch:
    """Looks for a secret in a copy of a compressed answer.

    Nothing can be replaced there: the answer has to be withheld.
    """

    __slots__ = ("_decoder", "_left", "_masking", "_tail")

    def __init__(self, masking: Masking, content_encoding: str) -> None:
        self._masking = masking
        self._decoder = Decoder.for_encoding(content_encoding)
        self._tail = b""
        self._left = WATCHED_BYTES_MAX

    def finds(self, chunk: bytes) -> bool:
        """Whether the answer up to this chunk holds a secret.

        As far as it is watched and can be decoded.
        """
        if self._decoder is None or self._left <= 0:
            return False
        for piece in self._decoder.feed(chunk):
            data = self._tail + piece
            if self._masking.found_in(data):
                return True
            self._left -= len(piece)
            kept = self._masking.open_bytes(data)
            self._tail = data[-kept:] if kept else b""
        return False
