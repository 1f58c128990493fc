"""What is whole in an event or an answer that is damaged beyond repair: names, usage, texts."""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

import msgspec

from proxy.core.dialects.openai_responses.response import Response
from proxy.core.dialects.repair import repaired

_MEMBER = re.compile(
    rb'(?<!\\)"(model|id|service_tier|status)"[ \t\r\n]*+:[ \t\r\n]*+("[^"\\]{1,300}+")'
)
_USAGE = re.compile(rb'(?<!\\)"usage"[ \t\r\n]*+:[ \t\r\n]*+(?=\{)')
_ERROR = re.compile(rb'(?<!\\)"error"[ \t\r\n]*+:[ \t\r\n]*+(?:\{[ \t\r\n]*+[^} \t\r\n]|"[^"])')
_RESPONSE = re.compile(
    rb'(?<!\\)"type"[ \t\r\n]*+:[ \t\r\n]*+"response\.'
    rb'(created|queued|in_progress|completed|incomplete|failed|cancelled|done)"'
    rb'|(?<!\\)"object"[ \t\r\n]*+:[ \t\r\n]*+"response'
)
_ENDS: Final = (b"completed", b"incomplete", b"failed", b"cancelled", b"done")
_TEXT = re.compile(
    rb'"(?:delta|text|arguments|input|code|refusal)"[ \t\r\n]*+:[ \t\r\n]*+'
    rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)',
    re.DOTALL,
)
_USAGES_MAX: Final = 8
_EDGE_BYTES: Final = 64 * 1024
_loose = json.JSONDecoder(strict=False)


class Salvage(NamedTuple):
    """What was saved of an event.

    `response`: the whole members of the response in it; `ends`: it is the last event. `text`: the
    longest text of any other event.
    """

    response: Response | None
    ends: bool
    text: bytes


def salvaged(data: bytes) -> Salvage:
    """What is whole in this; of a long text, in both of its ends."""
    if len(data) > 2 * _EDGE_BYTES:
        data = data[:_EDGE_BYTES] + b" " + data[-_EDGE_BYTES:]
    holds = _RESPONSE.search(data)
    if holds is None:
        return Salvage(None, False, max(_TEXT.findall(data), key=len, default=data))
    ends = holds[1] is None or holds[1] in _ENDS
    return Salvage(response_in(data), ends, b"")


def response_in(data: bytes) -> Response:
    """The members of a response that are whole in this piece: its names, and the last usage."""
    members = {
        match[1].decode(): msgspec.Raw(match[2])
        for match in reversed(list(_MEMBER.finditer(data[:_EDGE_BYTES])))
    }
    if _ERROR.search(data):
        members["error"] = msgspec.Raw(b"true")
    for match in reversed(list(_USAGE.finditer(data))[-_USAGES_MAX:]):
        text = data[match.end() : match.end() + _EDGE_BYTES].decode("utf-8", "replace")
        try:
            usage, _ = _loose.raw_decode(text)
        except (ValueError, RecursionError):
            continue
        members["usage"] = msgspec.Raw(repaired(json.dumps(usage).encode()))
        break
    return Response(**members)
