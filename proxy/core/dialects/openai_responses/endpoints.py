"""The paths of this API: those that are metered, and those of answers that the vendor keeps."""

from __future__ import annotations

import re
from typing import Final

from proxy.core.dialects.contract import KeptPath

RESPONSES: Final = "/v1/responses"
COMPACT: Final = "/v1/responses/compact"
INPUT_TOKENS: Final = "/v1/responses/input_tokens"
ENDPOINTS: Final = (RESPONSES, COMPACT, INPUT_TOKENS)
_KEPT: Final = re.compile(r"/v1/responses/([A-Za-z0-9_.:~-]{1,256})(/cancel|/input_items)?")
_METHODS: Final = {"": ("GET", "DELETE"), "/cancel": ("POST",), "/input_items": ("GET",)}


def kept_path(path: str) -> KeptPath | None:
    """Which response a path names; None for any other path."""
    found = _KEPT.fullmatch(path)
    if found is None or path in ENDPOINTS:
        return None
    answer_id, of_it = found[1], found[2] or ""
    return KeptPath(answer_id, f"{RESPONSES}/{{id}}{of_it}", _METHODS[of_it])
