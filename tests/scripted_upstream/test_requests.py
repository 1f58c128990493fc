"""What the scripted upstream refuses, as a vendor would."""

from __future__ import annotations

import pytest

from proxy.scripted_upstream import expected
from tests.scripted_upstream.asking import whole


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Could not read the request body"),
        (b'{"messages":[]}', "missing required field `model`"),
        (b'{"model":"m"}', "Missing required parameter: 'messages'"),
        (b'{"model":"m","messages":[]}', "Missing required parameter: 'messages'"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":0}', "Invalid 'n'"),
        (b'{"model":"m","messages":[{"role":"user"}],"stop":["1","2","3","4","5"]}', "at most 4"),
        (
            b'{"model":"m","messages":[{"role":"user"}],"stream_options":{}}',
            "only allowed when 'stream' is enabled",
        ),
        (b"[" * 5000, "Could not read the request body"),
    ],
)
def test_bad_requests_are_refused_as_an_upstream_would(body, message):
    answer = expected(body)
    assert answer.status == 400
    assert message in whole(answer)["error"]["message"]
