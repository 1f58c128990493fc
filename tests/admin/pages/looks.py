"""A look at a page of a running proxy, without a browser."""

from __future__ import annotations

from proxy.admin.auth import Asker
from proxy.admin.pages.look import PageLook
from proxy.admin.pages.visitors import PageVisitor
from tests.admin.test_tenants import Desk

VISITOR = PageVisitor(Asker("ops", "admin"), "seed")


def look_of(admin: Desk, **query: str) -> PageLook:
    server = admin.proxy.server
    return PageLook(
        visitor=VISITOR,
        snapshot=server.snapshot,
        now_ms=server.services.now_ms(),
        address="127.0.0.1",
        query=list(query.items()),
    )
