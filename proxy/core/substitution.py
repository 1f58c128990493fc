"""Whether a vendor answered with another model than was asked for. Its name for the same model,
with a date, a version or a vendor's prefix, is no other one."""

from __future__ import annotations

import re
from typing import Final

_EDITION: Final = re.compile(
    r"(?:[-@:._](?:latest|preview|exp|stable|\d{4}-\d{2}-\d{2}|\d{2}-\d{2}|\d{2}-\d{4}|\d{3,8}|v\d+(?:[.:]\d+)?))+$"
)


def substituted(requested: str, served: str) -> bool:
    """Whether `served` is another model: gpt-4o-mini for gpt-4o is, gpt-4o-2024-08-06 and
    openai/gpt-4o are not."""
    return _model(requested) != _model(served)


def _model(name: str) -> str:
    return _EDITION.sub("", name.lower().rpartition("/")[2])
