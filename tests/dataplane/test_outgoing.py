"""What goes upstream is the same, whether its head was built for it or for an earlier request."""

from __future__ import annotations

from pathlib import Path

from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running

ANSWER = b'{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'


async def test_heads_are_alike_for_the_same_head_and_each_upstream_has_its_own(
    tmp_path: Path,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(ANSWER)

    async with raw_upstream(script) as one, raw_upstream(script) as other:
        settings = config(one.url)
        settings["upstreams"]["other"] = {"base_url": other.url, "api_key": "sk-of-the-other"}  # type: ignore[index]
        settings["routes"] = [
            {"model": "b-*", "upstream": "other"},
            {"model": "*", "upstream": "mock"},
        ]
        async with running(tmp_path, settings) as proxy:
            client = await RawClient.connect(proxy.address)
            for model in ("a-1", "a-22", "b-1", "b-22", "a-1"):
                await client.post(b'{"model":"%b","messages":[]}' % model.encode())
                assert (await client.answer()).status == 200
            await client.aclose()
            fresh = await RawClient.connect(proxy.address)
            await fresh.post(b'{"model":"b-1","messages":[]}')
            await fresh.answer()
            await fresh.aclose()
    heads = [visit.head for visit in (*one.visits, *other.visits)]
    assert heads[0] == heads[2] and heads[3] == heads[5]
    assert heads[1] == heads[0].replace(b"th: 29", b"th: 30") != heads[0]
    assert other.visits[0].header("authorization") == b"Bearer sk-of-the-other"
    assert len(one.visits) == 3 and len(other.visits) == 3
