"""What a start finds: models that were served, limits that were used, journals that were left."""

from __future__ import annotations

from pathlib import Path

from proxy.server.past_use import count_limits, served_models
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running

USAGE = b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'


async def answering(visit: Visit) -> None:
    await visit.answer(b'{"model":"m-2","choices":[],"usage":' + USAGE + b"}")


async def used(proxy: Running) -> list[int]:
    quota = proxy.server.services.quota
    states = await quota.states(quota.limits(), proxy.server.services.now_ms())
    return [state.used for state in states]


async def test_limits_and_served_models_are_those_of_the_book(tmp_path: Path) -> None:
    async with raw_upstream(answering) as upstream:
        settings = config(upstream.url, limits=["1000 tokens/day"])
        async with running(tmp_path, settings) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.post(b'{"model":"m-1","messages":[]}')
            assert (await client.answer()).status == 200
            await client.aclose()
            await proxy.records(1)
        async with running(tmp_path, settings) as proxy:
            assert await used(proxy) == [10]
            await count_limits(proxy.server.services, proxy.server.snapshot)
            assert await used(proxy) == [10], "what has a count is not counted again"
            services = proxy.server.services
            served = served_models(proxy.server.snapshot, services.reader)
            assert list(served.seen) == list(services.served.seen) != []
