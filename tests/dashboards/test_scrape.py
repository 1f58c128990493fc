"""A real Prometheus reads the page as it is meant, and promtool finds nothing to say about it."""

from __future__ import annotations

import aiohttp
import pytest

from proxy.metrics.definitions import PREFIX, SPECS
from proxy.scripted_upstream import Script, serving
from tests.support.prometheus import promtool, scraping
from tests.support.running import KEY, config, running

pytestmark = pytest.mark.whole

CHAT = {
    "model": "demo-chat",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}


async def test_prometheus_takes_the_page_and_promtool_has_no_objection(tmp_path):
    async with (
        serving(Script()) as upstream,
        running(tmp_path, config(upstream.base_url)) as proxy,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(
            f"{proxy.base_url}/chat/completions",
            json=CHAT,
            headers={"Authorization": f"Bearer {KEY}"},
        ) as answer:
            assert answer.status == 200, await answer.text()
        await proxy.records(1)
        async with session.get(proxy.metrics_url) as page:
            status, said = promtool("check", "metrics", stdin=await page.read())
        assert (status, said) == (0, "")
        async with scraping(tmp_path / "prometheus", proxy.server.addresses.metrics) as prometheus:
            await prometheus.scraped()
            [(labels, value)] = await prometheus.query("tollkeeper_requests_total")
            assert (labels["model"], labels["code"], value) == ("demo-chat", "200", 1)
            types = await prometheus.get("metadata")
            known = {
                name: entries[0]["type"]
                for name, entries in types["data"].items()
                if name.startswith(PREFIX)
            }
            assert known == {PREFIX + spec.name: spec.kind for spec in SPECS}
