"""Finds what is whole in an event or an answer that is damaged beyond repair.

That is names, why it ended, and above all its usage.
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

from proxy.core.dialects.anthropic_messages.events import MessageEvent
from proxy.core.dialects.repair import repaired

_WINDOW_BYTES: Final = 64 * 1024  # of each end that is looked through
_USAGES_MAX: Final = 8
_NAME = re.compile(rb'(?<!\\)"(model|id)"[ \t\r\n]*+:[ \t\r\n]*+("[^"\\]{1,300}+")')
_REASON = re.compile(rb'(?<!\\)"stop_reason"[ \t\r\n]*+:[ \t\r\n]*+("[a-z_]{1,64}")')
_USAGE = re.compile(rb'(?<!\\)"usage"[ \t\r\n]*+:[ \t\r\n]*+(?=\{)')
_loose = json.JSONDecoder(strict=False)


def salvaged(data: bytes) -> MessageEvent:
    """The members that are whole. Of a large text they are looked for at both of its ends."""
    if len(data) > 2 * _WINDOW_BYTES:
        data = data[:_WINDOW_BYTES] + b" " + data[-_WINDOW_BYTES:]
    found = MessageEvent()
    for match in reversed(list(_NAME.finditer(data[:_WINDOW_BYTES]))):
        setattr(found, match[1].decode(), msgspec.Raw(match[2]))
    for match in _REASON.finditer(data):
        found.stop_reason = msgspec.Raw(match[1])
    for match in reversed(list(_USAGE.finditer(data))[-_USAGES_MAX:]):
        text = data[match.end() : match.end() + _WINDOW_BYTES].decode("utf-8", "replace")
        try:
            usage, _ = _loose.raw_decode(text)
        except (ValueError, RecursionError):
            continue
        found.usage = msgspec.Raw(repaired(json.dumps(usage).encode()))
        break
    return found
