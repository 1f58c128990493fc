"""Reads JSON that is not quite JSON: damage costs only what it damages.

Above all it never costs the usage that stands beside it.

Python's decoder, which most clients use, takes lone surrogates, NaN and Infinity; servers send
them, and a client can ask for them (log probabilities). Others cut a character in two, leave line
ends in strings, or break off in the middle. `repaired` mends what can be told in one pass;
`objects_of` tells objects in a row apart.
"""

from __future__ import annotations

import json
import re
from typing import Final

from proxy.core.dialects.scan import repair_surrogates

# Control characters, the white space of JSON included, as a blank: outside of strings it is the
# same, inside of them the size stays.
_CONTROLS: Final = bytes(0x20 if sign < 0x20 else sign for sign in range(256))
_NOT_JSON = re.compile(
    rb"([:\[,][ \t\r\n]*+)"
    rb"(?:[-+]?(?:[Nn]a[Nn]|[Ii]nf(?:inity)?|INF)|[-+]?[0-9.]++[eE][-+]?[0-9]{3,}+"
    rb"|None|True|False|undefined"
    rb"|\+[0-9.]++(?:[eE][-+]?[0-9]++)?|-?0[0-9][0-9.]*+|-?\.[0-9]++|-?[0-9]++\.(?![0-9]))"
    rb"(?=[ \t\r\n]*+[,\]}])"
)
_BAD_ESCAPE = re.compile(rb'((?<!\\)(?:\\\\)*+)\\(?![\\"/bfnrt]|u[0-9a-fA-F]{4})')
_TRAILING_COMMA = re.compile(rb",([ \t\r\n]*+[\]}])")
_BETWEEN = re.compile(r"[\s,]*(?:data:\s*)?")
_OBJECTS_MAX: Final = 4096
# A megabyte can take a third of a second, in which nobody else is served.
REPAIRED_BYTES_MAX: Final = 256 * 1024
_loose = json.JSONDecoder(strict=False)


def repaired(data: bytes) -> bytes:
    """The same text, at nearly the same length, without what strict decoders refuse.

    They refuse control characters, halves of characters, and words such as NaN. Strings are not
    told from what stands between them, so a string that reads like a list of such words changes a
    little.
    """
    text = data
    encoding = json.detect_encoding(text)
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        text = text.decode("utf-8", "replace").encode()
    if encoding not in ("utf-8", "utf-8-sig"):
        text = (
            data.decode(encoding, "replace")
            .encode("utf-8", "replace")
            .removeprefix(b"\xef\xbb\xbf")
        )
    text = text.translate(_CONTROLS)
    if b"\\" in text:
        text = _BAD_ESCAPE.sub(rb"\1\\\\", text)
        text = repair_surrogates(text) or text
    # Twice, since neighbours share the comma between them.
    text = _NOT_JSON.sub(rb"\1null", _NOT_JSON.sub(rb"\1null", text))
    return _TRAILING_COMMA.sub(rb"\1", text)


def objects_of(data: bytes) -> list[bytes]:
    """The objects that stand one behind the other in this text, or in a list.

    None if there are less than two without a list, or anything else.
    """
    text = data.decode("utf-8", "replace").strip() if len(data) <= REPAIRED_BYTES_MAX else ""
    listed = text.startswith("[") and text.endswith("]")
    if listed:
        text = text[1:-1].strip()
    found: list[bytes] = []
    at = 0
    while at < len(text) and len(found) < _OBJECTS_MAX and text[at] == "{":
        try:
            _, end = _loose.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        found.append(text[at:end].encode("utf-8", "replace"))
        between = _BETWEEN.match(text, end)
        at = end if between is None else between.end()
    return found if at >= len(text) and len(found) > (0 if listed else 1) else []
