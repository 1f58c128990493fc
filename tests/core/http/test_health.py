"""/healthz and /readyz, without a process."""

import json

from proxy.core.http.health import Health


def test_alive_is_not_the_same_as_ready() -> None:
    codes: list[str | None] = [None, "journal_unavailable"]
    health = Health(lambda: codes.pop(0))
    assert health.answer("/healthz") == (200, b'{"status":"ok"}')
    assert health.answer("/readyz") == (200, b'{"status":"ready"}')
    status, body = health.answer("/readyz")
    assert status == 503 and json.loads(body) == {
        "status": "not ready",
        "reason": "journal_unavailable",
    }
