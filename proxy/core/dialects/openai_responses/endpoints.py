"""The paths of this API: those that are metered, and those of answers that the vendor keeps."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.core.dialects.contract import KeptPath

RESPONSES: Final = "/v1/responses"
COMPACT: Final = "/v1/responses/compact"
INPUT_TOKENS: Final = "/v1/responses/input_tokens"
ENDPOINTS: Final = (RESPONSES, COMPACT, INPUT_TOKENS)
_KEPT: Final = re.compile(r"/v1/responses/([^/?#]{1,4096})(/cancel|/input_items)?")
_ID: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.:~=+-]+")
_ID_CHARS_MAX: Final = 256  # that a record has room for; gateways pack more into theirs
_METHODS: Final = {"": ("GET", "DELETE"), "/cancel": ("POST",), "/input_items": ("GET",)}


def kept_path(path: str) -> KeptPath | None:
    """Which response a path names; None for any other path."""
    found = _KEPT.fullmatch(path)
    if found is None or path in ENDPOINTS:
        return None
    answer_id, of_it = unquote_to_bytes(found[1]).decode("latin-1"), found[2] or ""
    if _ID.fullmatch(answer_id) is None:
        return None
    return KeptPath(known_as(answer_id), f"{RESPONSES}/{{id}}{of_it}", _METHODS[of_it])


def known_as(answer_id: str) -> str:
    """The id by which a response is known here: its own, or what stands for one too long.

    Cut short for a record, two could be one.
    """
    if len(answer_id) <= _ID_CHARS_MAX:
        return answer_id
    return f"sha256:{hashlib.sha256(answer_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
