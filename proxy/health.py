"""Health, on every listener: /healthz says the process lives, /readyz that it can take work. No credential, no detail of use to a stranger."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Health:
    """`why_not_ready` returns None or the reason; a ledger outage alone is none, since the journal carries on."""

    def __init__(self, why_not_ready: Callable[[], str | None]) -> None:
        self._why_not_ready = why_not_ready

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and JSON body of /healthz or /readyz."""
        if path == "/healthz":
            return 200, b'{"status":"ok"}'
        reason = self._why_not_ready()
        if reason is None:
            return 200, b'{"status":"ready"}'
        return 503, msgspec.json.encode({"status": "not ready", "reason": reason})
