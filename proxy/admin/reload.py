"""`POST /admin/v1/reload` reads the config again, and says what changed.

`?cut=true` also ends what runs for keys that are not let through any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest
from proxy.admin.tenant_views import Why
from proxy.config.differences import Difference
from proxy.tenants.orders import check_reason

RELOAD_PATH = "/admin/v1/reload"
CHANGES_MAX = 1000  # settings that one answer names


class AlsoReloaded(msgspec.Struct, frozen=True):
    """What another process of the same parent did. `refused`: why not; null: it was reloaded."""

    name: str
    refused: str | None = None
    ended: int = 0


class Reloaded(msgspec.Struct, frozen=True):
    """What a reload did.

    changed · each setting that differs from the config before, at most 1000 of them; `more` others
    needs_restart · settings of the file that hold only after a restart
    ended · how many running requests were ended with their keys, at all of these processes
    others · the other processes of the same parent, which were reloaded after this one
    """

    changed: Sequence[Difference]
    more: int
    needs_restart: Sequence[str]
    warnings: Sequence[str]
    ended: int
    others: Sequence[AlsoReloaded] = ()


class ReloadOrder(msgspec.Struct, frozen=True):
    """Who wants a reload, from where and why, and whether keys that it closes are cut off."""

    actor: str
    origin: str
    reason: str | None = None
    cut: bool = False


class CutQuery(msgspec.Struct, frozen=True):
    """`cut`: end also what runs for keys that are not let through any more."""

    cut: bool = False


class Reloading(Protocol):
    """Brings the config as it is now into effect. Raises ProxyError where it cannot be used."""

    async def __call__(self, order: ReloadOrder) -> Reloaded: ...


def reload_route(reload: Reloading) -> AdminEndpoint:
    async def answer(ask: AdminRequest) -> Reloaded:
        reason = check_reason(ask.body.reason)
        return await reload(ReloadOrder(ask.asker.name, ask.origin, reason, ask.query.cut))

    return AdminEndpoint(
        "POST",
        RELOAD_PATH,
        "Read the config again and bring it into effect.",
        answer,
        CutQuery,
        Why,
        Reloaded,
        errors=(409, 422, 503),
    )
