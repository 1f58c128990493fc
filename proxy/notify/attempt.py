"""What one attempt to send came to."""

from __future__ import annotations

from typing import Literal

import msgspec

RETRY_AFTER_MAX_S = 3600.0  # the longest wait that a receiver may ask for


class Attempt(msgspec.Struct, frozen=True):
    """`delivered`, `refused` for good, or `again` later, at least `wait_s` from now.

    `said` is a sentence for people. It quotes nothing of a secret. `partly`: some addresses of
    several did not take it.
    """

    result: Literal["delivered", "refused", "again"]
    said: str
    wait_s: float = 0.0
    partly: bool = False
