"""Taking an archived month out of the book over the admin API: `POST /admin/v1/ledger/archive`."""

from __future__ import annotations

import logging

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.core.errors import ProxyError, unavailable
from proxy.core.managed import Audit
from proxy.dataplane.services import Services
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.ledger.archives import Archive, ArchiveOrder

ARCHIVE_PATH = "/admin/v1/ledger/archive"

_LOG = logging.getLogger("tollkeeper.admin")


def archive_deed(actor: str, origin: str, at_ms: int, order: ArchiveOrder) -> Audit:
    """What the audit says of it: which month, and which file has its records."""
    return Audit(
        at_ms=at_ms,
        actor=actor,
        origin=origin,
        action="ledger.archive",
        kind="ledger",
        name=order.month,
        after=msgspec.json.encode(order, order="sorted").decode(),
    )


def archive_route(services: Services) -> AdminEndpoint:
    """The route that takes a month out of the book whose records are in a file."""

    async def archive(ask: AdminRequest) -> Archive:
        order: ArchiveOrder = ask.body
        done = archive_deed(ask.asker.name, ask.origin, services.now_ms(), order)
        try:
            archived = await services.ledger.archive(order, done)
        except LedgerError as error:
            message = f"The month stays in the book: {error}."
            raise ProxyError(409, "invalid_request_error", "not_archivable", message) from error
        except LedgerUnavailable as error:
            message = f"The month cannot be archived now ({error}); the same again goes on."
            raise unavailable("ledger_unavailable", message) from error
        _LOG.info("%s archived the month %s as %s", ask.asker.name, order.month, order.file)
        try:
            await services.ledger.clear_archived()
        except (LedgerError, LedgerUnavailable) as error:  # its records are in no answer any more
            _LOG.warning("rows of %s are deleted with the next archive: %s", order.month, error)
        return archived

    return AdminEndpoint(
        "POST",
        ARCHIVE_PATH,
        "Take a sealed month out of the book whose records are in a file.",
        archive,
        body=ArchiveOrder,
        returns=Archive,
        errors=(409, 503),
    )
