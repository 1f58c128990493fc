"""What is whole in an answer that is damaged beyond repair: its names, its usage, why it ended."""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

from proxy.core.dialects.repair import repaired

_MEMBER = re.compile(rb'(?<!\\)"(model|id|service_tier)"[ \t\r\n]*+:[ \t\r\n]*+("[^"\\]{1,300}+")')
_USAGE = re.compile(rb'(?<!\\)"usage"[ \t\r\n]*+:[ \t\r\n]*+(?=\{)')
_FINISH = re.compile(rb'(?<!\\)"finish_reason"[ \t\r\n]*+:[ \t\r\n]*+("[a-z_]{1,64}")')
_CHOICES = re.compile(rb'(?<!\\)"choices"[ \t\r\n]*+:(?![ \t\r\n]*+(?:null|\[[ \t\r\n]*+\]))')
_ERROR = re.compile(
    rb'(?<!\\)"(?:error"[ \t\r\n]*+:[ \t\r\n]*+(?:\{[ \t\r\n]*+[^} \t\r\n]|"[^"])'
    rb'|(?:object|type)"[ \t\r\n]*+:[ \t\r\n]*+"error")'
)
_USAGES_MAX: Final = 8
_USAGE_BYTES_MAX: Final = 64 * 1024
_loose = json.JSONDecoder(strict=False)


def salvaged(data: bytes) -> dict[str, msgspec.Raw]:
    """The members of a broken answer that are whole.

    They are its names, its usage, the last finish reason, and whether it is an error.

    Of a large one they are looked for at both of its ends.
    """
    if len(data) > 2 * _USAGE_BYTES_MAX:
        data = data[:_USAGE_BYTES_MAX] + b" " + data[-_USAGE_BYTES_MAX:]
    members = {
        match[1].decode(): msgspec.Raw(match[2])
        for match in reversed(list(_MEMBER.finditer(data[:_USAGE_BYTES_MAX])))
    }
    if _ERROR.search(data):
        members["error"] = msgspec.Raw(b"true")
    if _CHOICES.search(data):
        finish = _FINISH.findall(data)
        members["choices"] = msgspec.Raw(
            b'[{"finish_reason":%b}]' % (finish[-1] if finish else b"null")
        )
    for match in reversed(list(_USAGE.finditer(data))[-_USAGES_MAX:]):
        text = data[match.end() : match.end() + _USAGE_BYTES_MAX].decode("utf-8", "replace")
        try:
            usage, _ = _loose.raw_decode(text)
        except (ValueError, RecursionError):
            continue
        members["usage"] = msgspec.Raw(repaired(json.dumps(usage).encode()))
        break
    return members
