"""Health, on every listener: /healthz says the process lives, /readyz that it can take work. No
credential, no detail of use to a stranger."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Health:
    """`unready_code` returns None, or the error code with which requests are refused.

    A ledger outage alone is no reason, since the journal carries on. It is a code and no sentence:
    details, such as the journal's path, are the operator's. The log and `GET /admin/v1/health` have
    them.
    """

    def __init__(self, unready_code: Callable[[], str | None]) -> None:
        self._unready_code = unready_code

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and JSON body of /healthz or /readyz."""
        if path == "/healthz":
            return 200, b'{"status":"ok"}'
        reason = self._unready_code()
        if reason is None:
            return 200, b'{"status":"ready"}'
        return 503, msgspec.json.encode({"status": "not ready", "reason": reason})
