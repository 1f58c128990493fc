"""Erasing an end user over the admin API: `POST /admin/v1/end-users/erase`."""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec

from proxy.accounting.erasure import erase_end_user
from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.core.errors import invalid_request, unavailable
from proxy.core.managed import Audit
from proxy.dataplane.attribution import NAME_CHARS_MAX, usable
from proxy.dataplane.services import Services
from proxy.ledger import LedgerError, LedgerUnavailable
from proxy.tenants.orders import REASON_CHARS_MAX

ERASE_PATH = "/admin/v1/end-users/erase"
DRAIN_S = 30.0  # until what ended before is booked

_LOG = logging.getLogger("tollkeeper.admin")


class EraseOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An end user by the name that requests gave, and why; the reason is kept, the name is not."""

    end_user: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARS_MAX)] | None = None


class Erased(msgspec.Struct, frozen=True):
    """Whether the end user was known. Then no record can be linked with the name any more."""

    erased: bool


def deed(actor: str, origin: str, at_ms: int, reason: str | None) -> Audit:
    """What the audit says of it: neither the name nor what the records have in its place."""
    return Audit(
        at_ms=at_ms,
        actor=actor,
        origin=origin,
        action="end_user.erase",
        kind="end_user",
        name="erased",
        reason=reason,
    )


def erase_route(services: Services) -> AdminEndpoint:
    """The route that deletes an end user's salt."""

    async def erase(ask: AdminRequest) -> Erased:
        order: EraseOrder = ask.body
        if not usable(order.end_user):
            message = "No request is booked under a name that is not printable."
            raise invalid_request(message, param="end_user")
        done = deed(ask.asker.name, ask.origin, services.now_ms(), order.reason)
        try:
            erased = await erase_end_user(
                order.end_user,
                done,
                services.ledger,
                services.end_users,
                lambda: services.recorder.drain(DRAIN_S),
            )
        except (LedgerError, LedgerUnavailable) as error:
            message = f"The end user cannot be erased now ({error}): ask again."
            raise unavailable("ledger_unavailable", message) from error
        if erased:
            _LOG.info("%s erased an end user", ask.asker.name)
        return Erased(erased)

    return AdminEndpoint(
        "POST",
        ERASE_PATH,
        "Delete the salt of an end user: nothing leads from the name to records any more.",
        erase,
        body=EraseOrder,
        returns=Erased,
        errors=(503,),
    )
