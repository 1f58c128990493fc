"""What is looked at in a body that streams on where objects have owners: JSON, and a form's fields.

Neither may name what others have made. JSON is read before it is sent, so a body that streams may
be none; a form's fields are read as they pass, and the end of each before it goes on.
"""

from __future__ import annotations

import re

from proxy.core.errors import ProxyError
from proxy.core.http.form import FormReader, boundary_of
from proxy.dataplane.named_objects import Claimant, check_field

_BLANK = b" \t\r\n\x0b\x0c\xef\xbb\xbf"  # that readers skip before JSON, and the mark of UTF-8
_BEGINS_BYTES = 16  # which tell
# The same in 16 or 32 bits a sign, which Python's readers tell by its zeros.
_WIDE = re.compile(
    rb"(?:\xff\xfe(?:\0\0)?)?(?:[ \t\r\n]\0+)*+[{\[]\0"
    rb"|(?:(?:\0\0)?\xfe\xff)?(?:\0+[ \t\r\n])*+\0(?:\0\0)?[{\[]\0"
)


class NoJson:
    """Raises 415 where a body begins as JSON. Some servers read it as that whatever its type says,
    and then it could name what others have made."""

    def __init__(self) -> None:
        self._known = False  # its first signs have shown that it is none
        self._begins = b""

    def feed(self, part: bytes) -> None:
        if self._known:
            return
        begins = self._begins + part if self._begins else part.lstrip(_BLANK)
        if begins[:1] in (b"{", b"[") or _WIDE.match(begins) is not None:
            message = (
                "The body is JSON and its Content-Type says otherwise. Send `Content-Type:"
                " application/json`."
            )
            raise ProxyError(415, "invalid_request_error", "unsupported_media_type", message)
        self._begins = begins[:_BEGINS_BYTES]
        self._known = len(begins) >= _BEGINS_BYTES

    def end(self) -> None:
        """Nothing is left to tell."""


class FormFields:
    """Refuses a form whose fields name what its caller's team has not made.

    Raises 404 then, and 415 where readers could find another field than is found here.
    """

    def __init__(self, content_type: bytes, claimant: Claimant) -> None:
        self._reader = FormReader(boundary_of(content_type))
        self._claimant = claimant

    def feed(self, part: bytes) -> None:
        for found in self._reader.feed(part):
            check_field(found.name, found.content, self._claimant, is_file=found.is_file)

    def end(self) -> None:
        self._reader.end()
