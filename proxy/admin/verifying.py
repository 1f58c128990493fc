"""Verifying the book over the admin API, and making its roll-ups anew.

`GET /admin/v1/ledger/verify` is one short read in a thread, so that the data path goes on. While
`POST /admin/v1/ledger/rebuild` works, records wait in the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest, read
from proxy.core.errors import ProxyError, invalid_request, unavailable
from proxy.core.records.anchors import ANCHOR_CHARS_MAX, Anchor
from proxy.dataplane.services import Services
from proxy.ledger import LedgerError, LedgerUnavailable, QuestionRefused
from proxy.ledger.verification import ANCHOR, NEWEST, PARTS, VerifyStep

PATH = "/admin/v1/ledger/verify"
ANCHOR_PATH = "/admin/v1/ledger/anchor"
REBUILD_PATH = "/admin/v1/ledger/rebuild"

_ASKED = (*PARTS, NEWEST, ANCHOR)
_LOG = logging.getLogger("tollkeeper.admin")


class VerifyQuery(msgspec.Struct, frozen=True):
    """Which part of the book, and where to go on: `next` of the last answer, nothing at first.

    The part `newest` is the end of the book, `anchor` the anchor whose line is the place.
    """

    part: str
    place: Annotated[str, msgspec.Meta(max_length=ANCHOR_CHARS_MAX)] | None = None


class RebuildOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing: there is nothing to choose."""


class Rebuilt(msgspec.Struct, frozen=True):
    """All roll-ups were made anew from so many records."""

    records: int


def verify_book_routes(services: Services, key_file: Path) -> Sequence[AdminEndpoint]:
    """The routes that check a stretch of the book, with its own key, and mend roll-ups."""
    reader = services.reader

    async def step(ask: AdminRequest) -> VerifyStep:
        query: VerifyQuery = ask.query
        if query.part not in _ASKED:
            message = f"part: {query.part[:80]!r} is none of {', '.join(_ASKED)}."
            raise invalid_request(message, param="part")
        try:
            return await read(lambda: reader.verify_step(query.part, query.place, key_file))
        except (msgspec.MsgspecError, ValueError, IndexError) as error:
            message = (
                "place: give what the last answer has as `next`, nothing, or an anchor's line."
            )
            raise invalid_request(message, param="place") from error

    async def rebuild(ask: AdminRequest) -> Rebuilt:
        try:
            done = Rebuilt(await services.ledger.rebuild())
        except (LedgerError, LedgerUnavailable) as error:
            message = f"The roll-ups cannot be made anew now ({error}); they are as they were."
            raise unavailable("ledger_unavailable", message) from error
        _LOG.info("%s made the roll-ups anew from %d records", ask.asker.name, done.records)
        return done

    async def anchor(_ask: AdminRequest) -> Anchor:
        def taken() -> Anchor:
            try:
                return reader.anchor()
            except QuestionRefused as error:
                raise ProxyError(
                    409, "invalid_request_error", "nothing_booked", f"{error}."
                ) from error

        return await read(taken)

    return (
        AdminEndpoint(
            "GET",
            ANCHOR_PATH,
            "Say where the book ends now.",
            anchor,
            returns=Anchor,
            errors=(409, 503),
        ),
        AdminEndpoint(
            "POST",
            REBUILD_PATH,
            "Make all roll-ups anew from the records, in one transaction.",
            rebuild,
            body=RebuildOrder,
            returns=Rebuilt,
            errors=(503,),
        ),
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
