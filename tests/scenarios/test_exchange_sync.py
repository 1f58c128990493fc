"""`sync: always` on a disk that fails: what cannot be made durable is not sent, and an answer is
not ended as if it were booked for good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running

ASK = b'{"model":"m-1","messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'


async def test_what_cannot_be_made_durable_is_not_sent(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(ANSWER)

    settings = config("", journal={"segment": "1MiB", "sync": "always"})
    async with raw_upstream(script) as upstream:
        settings["upstreams"] = {"mock": {"base_url": upstream.url, "api_key": "sk-upstream"}}
        async with running(tmp_path, settings, failpoints="journal.sync.before=enospc") as proxy:
            for _ in range(3):
                client = await RawClient.connect(proxy.address)
                await client.post(ASK)
                answer = await client.answer()
                assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
                    503,
                    "journal_unavailable",
                )
                await client.aclose()
            assert upstream.visits == []
            assert proxy.server.open_exchanges == 0
            await proxy.records(0)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_whose_record_is_not_durable_does_not_look_whole(
    tmp_path: Path, stream: bool
) -> None:
    """Booked all the same: the record is in the journal, and goes to the ledger while the process
    lives."""
    failing = False

    async def script(visit: Visit) -> None:
        nonlocal failing
        failing = True
        if stream:
            await visit.stream(
                b'data: {"choices":[{"index":0,"delta":{"content":"abcd"}}]}\n\n',
                b"data: [DONE]\n\n",
            )
        else:
            await visit.answer(ANSWER)

    def fail(name: str) -> None:
        if failing and name == "journal.sync.before":
            raise OSError(28, "no space")

    async with raw_upstream(script) as upstream:
        settings = config(upstream.url, journal={"segment": "1MiB", "sync": "always"})
        async with running(tmp_path, settings, fail=fail) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.post(ASK[:-1] + b',"stream":true}' if stream else ASK)
            answer = await client.answer()
            if stream and answer.status == 200:
                assert not answer.whole
            else:
                assert (answer.status, json.loads(answer.body)["error"]["code"]) == (
                    503,
                    "journal_unavailable",
                )
                assert (
                    answer.header("x-should-retry") == b"false"
                )  # it was sent, and the SDKs must not send it again
            [row] = await proxy.records(1)
            assert row["outcome"] == "completed"
            await client.aclose()
