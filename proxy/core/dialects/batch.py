"""A batch as OpenAI tells of it: its state, and what it has used once it is over."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.usage import Usage

OBJECT: Final = "batch"
FAILED: Final = "failed"  # its file could not be read: nothing of it ran
_OVER: Final = frozenset(("completed", "expired", "cancelled", FAILED))


class VendorsBatch(msgspec.Struct, frozen=True, gc=False):
    """`usage`: of all its requests together, None where it is not stated. `model`: None where it
    is not stated, as with several."""

    id: str
    status: str
    usage: Usage | None = None
    model: str | None = None

    @property
    def tells_its_use(self) -> bool:
        """Whether it is over, and what it has used is known.

        Vendors bill what was done of one that expired or was cancelled.
        """
        return self.status in _OVER and (self.usage is not None or self.status == FAILED)
