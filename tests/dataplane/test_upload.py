"""What an upload says of itself; tests/scenarios/test_large_uploads.py sends some."""

from __future__ import annotations

from proxy.dataplane.upload import sending, whole_s


def test_without_an_upload_a_request_is_sent_at_once() -> None:
    assert not sending(None)
    assert whole_s(None, 5.0) == 5.0
