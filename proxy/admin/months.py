"""Sealed months over the admin API: `POST /admin/v1/ledger/seal`, `GET …/records/{id}/proof`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest, read
from proxy.core.errors import ProxyError, invalid_request, unavailable
from proxy.core.records.checkpoints import RecordProof
from proxy.dataplane.services import Services
from proxy.dataplane.snapshot import Snapshot
from proxy.ledger import LedgerError, LedgerUnavailable, Reader, SealedMonth
from proxy.ledger.signing import FILE

SEAL_PATH = "/admin/v1/ledger/seal"
PROOF_PATH = "/admin/v1/records/{id}/proof"

_LOG = logging.getLogger("tollkeeper.admin")


class SealOrder(msgspec.Struct, frozen=True):
    """Nothing has to be said."""


class SealedMonths(msgspec.Struct, frozen=True):
    """The months that were sealed now, the oldest first."""

    sealed: list[SealedMonth]


def month_routes(
    services: Services, snapshot: Callable[[], Snapshot], key_file: Path
) -> Sequence[AdminEndpoint]:
    """The routes that seal months, and prove that a record is in one."""

    async def seal(ask: AdminRequest) -> SealedMonths:
        try:
            done = await services.ledger.seal_months(snapshot().zone, key_file.with_name(FILE))
        except LedgerError as error:
            raise invalid_request(f"No month is sealed: {error}.") from error
        except LedgerUnavailable as error:
            message = f"The months cannot be sealed now ({error}); the same again goes on."
            raise unavailable("ledger_unavailable", message) from error
        for month in done:
            _LOG.info("%s sealed the month %s: %s", ask.asker.name, month.month, month.root)
        return SealedMonths(done)

    async def proof(ask: AdminRequest) -> RecordProof:
        id = ask.path["id"]
        found = await read(lambda: _proof(services.reader, id))
        if found is None:
            message = f"The ledger has no record {id[:80]!r}."
            raise ProxyError(404, "invalid_request_error", "record_not_found", message, param="id")
        if isinstance(found, str):
            raise ProxyError(409, "invalid_request_error", "not_sealed", f"No proof: {found}.")
        return found

    return (
        AdminEndpoint(
            "POST",
            SEAL_PATH,
            "Put each month that is over under one signed root.",
            seal,
            body=SealOrder,
            returns=SealedMonths,
            errors=(503,),
        ),
        AdminEndpoint(
            "GET",
            PROOF_PATH,
            "Prove that a record is in its sealed month.",
            proof,
            returns=RecordProof,
            errors=(404, 409, 503),
        ),
    )


def _proof(reader: Reader, id: str) -> RecordProof | str | None:
    """The proof, or why there is none."""
    try:
        return reader.proof(id)
    except LedgerError as error:
        return str(error)
