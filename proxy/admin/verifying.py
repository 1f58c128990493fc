"""Verifying the book over the admin API, a step at a time: `GET /admin/v1/ledger/verify`.

Each step is one short read in a thread, so that the data path goes on beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest, read
from proxy.core.errors import invalid_request
from proxy.ledger.reading import Reader
from proxy.ledger.verification import PARTS, VerifyStep

PATH = "/admin/v1/ledger/verify"


class VerifyQuery(msgspec.Struct, frozen=True):
    """Which part of the book, and where to go on: `next` of the last answer, nothing at first."""

    part: str
    place: Annotated[str, msgspec.Meta(max_length=1000)] | None = None


def verify_book_routes(reader: Reader, key_file: Path) -> Sequence[AdminEndpoint]:
    """The route that checks one stretch of the book, with the key that seals it."""

    async def step(ask: AdminRequest) -> VerifyStep:
        query: VerifyQuery = ask.query
        if query.part not in PARTS:
            message = f"part: {query.part[:80]!r} is none of {', '.join(PARTS)}."
            raise invalid_request(message, param="part")
        try:
            return await read(lambda: reader.verify_step(query.part, query.place, key_file))
        except (msgspec.MsgspecError, ValueError, IndexError) as error:
            message = "place: give what the last answer has as `next`, or nothing."
            raise invalid_request(message, param="place") from error

    return (
        AdminEndpoint(
            "GET",
            PATH,
            "Check that the next rows of a part of the book are as they were written.",
            step,
            VerifyQuery,
            returns=VerifyStep,
            errors=(503,),
        ),
    )
