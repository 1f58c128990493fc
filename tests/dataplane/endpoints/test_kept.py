"""Requests for kept answers are admitted by their id. (Through the proxy:
scenarios/test_kept_answers.py.)"""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.raw import RawClient
from tests.support.running import config, running


async def test_an_answer_that_is_not_known_is_refused_without_a_vendor(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:9/v1")) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.send(
            b"GET /v1/responses/resp_1 HTTP/1.1\r\nHost: p\r\nAuthorization: Bearer sk-test\r\n\r\n"
        )
        answer = await client.answer()
        await client.aclose()
    assert json.loads(answer.body)["error"]["code"] == "answer_not_found"
    assert answer.header("x-should-retry") == b"false"
