"""An answer that its vendor may keep, as the book knows it."""

from __future__ import annotations

import msgspec


class KeptAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer that its vendor may keep: its id there, who asked for it and where, and its tokens.

    `waiting`: the id of its record, if the use was not known when that was booked.
    """

    id: str
    key_id: str
    team: str | None
    upstream: str
    model: str
    tokens: int
    waiting: str | None = None
    dialect: str = ""
