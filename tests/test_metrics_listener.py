"""The metrics' own listener: the page, health, nothing else; and no metrics on the data listener."""

from __future__ import annotations

import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import config, running


async def get(address: str, path: str) -> RawAnswer:
    client = await RawClient.connect(address)
    await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await client.answer()
    await client.aclose()
    return answer


async def test_metrics_and_health_have_a_listener_of_their_own(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b'{"model":"m-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}')

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        metrics = proxy.server.addresses.metrics
        client = await RawClient.connect(proxy.address)
        await client.post(b'{"model":"m-1","messages":[]}')
        await client.answer()
        page = await get(metrics, "/metrics")
        samples = {
            (sample.name, sample.labels.get("model")): sample.value
            for family in text_string_to_metric_families(page.body.decode()) for sample in family.samples
        }
        assert samples["tollkeeper_input_tokens_total", "m-1"] == 7
        assert samples["tollkeeper_output_tokens_total", "m-1"] == 3
        assert samples["tollkeeper_journal_open_exchanges", None] == 0
        assert samples["tollkeeper_data_dir_free_bytes", None] > 0
        for address in (metrics, proxy.address):
            assert json.loads((await get(address, "/healthz")).body) == {"status": "ok"}
            assert (await get(address, "/readyz")).status == 200
        assert (await get(metrics, "/v1/models")).status == 404
        assert (await get(proxy.address, "/metrics")).status == 404
        await client.aclose()
