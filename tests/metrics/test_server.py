"""The metrics' own listener: the page, health, nothing else; and no metrics on the data
listener."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from proxy.config.settings import MetricsSettings
from proxy.core.http.health import Health
from proxy.metrics.collector import Metrics
from proxy.metrics.server import MetricsListener
from tests.support.raw import RawAnswer, RawClient, Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import guard


@pytest_asyncio.fixture
async def listener() -> AsyncIterator[str]:
    """The address of one with a public name, which waits a moment for heads."""
    made = MetricsListener(
        Metrics(MetricsSettings(), "1.2.3"),
        Health(lambda: None),
        hosts=["metrics.example.com"],
        header_s=0.1,
    )
    yield await made.start("127.0.0.1", 0)
    await made.aclose()


async def get(address: str, path: str, *headers: str) -> RawAnswer:
    client = await RawClient.connect(address)
    lines = "".join(f"{line}\r\n" for line in (headers or ("Host: x",)))
    await client.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    answer = await client.answer()
    await client.aclose()
    return answer


async def test_metrics_and_health_have_a_listener_of_their_own(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(
            b'{"model":"m-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}'
        )

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        metrics = proxy.server.addresses.metrics
        client = await RawClient.connect(proxy.address)
        await client.post(b'{"model":"m-1","messages":[]}')
        await client.answer()
        page = await get(metrics, "/metrics")
        samples = {
            (sample.name, sample.labels.get("model")): sample.value
            for family in text_string_to_metric_families(page.body.decode())
            for sample in family.samples
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


async def test_the_page_is_in_the_text_format_whatever_a_scraper_prefers(tmp_path: Path) -> None:
    async with running(tmp_path, config("http://127.0.0.1:1/v1")) as proxy:
        for accept in (
            "",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text;version=x",
        ):
            client = await RawClient.connect(proxy.server.addresses.metrics)
            await client.send(
                f"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode()
            )
            answer = await client.answer()
            await client.aclose()
            assert (answer.status, answer.header("content-type")) == (
                200,
                b"text/plain; version=0.0.4; charset=utf-8",
            )
            assert "tollkeeper_requests" in {
                family.name for family in text_string_to_metric_families(answer.body.decode())
            }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("Host: 127.0.0.1:9464",), 200), (("Host: tollkeeper.monitoring.svc:9464",), 200), (("Host: metrics.example.com",), 200),
        (("Host: evil.example:9464", "Origin: http://evil.example:9464"), 403), (("Host: evil.example:9464",), 403), (("Host: 127.0.0.1:9464", "Origin: http://evil.example"), 403),
        (("Host: 127.0.0.1:9464", "Origin: null"), 403), (("Host: localhost.evil.example",), 403), (("Host:",), 403), (("X-Forwarded-Host: localhost", "Host: evil.example"), 403),
    ],
)  # fmt: skip
async def test_a_web_page_does_not_read_who_spends_what(
    listener: str, headers: tuple[str, ...], status: int
) -> None:
    answer = await get(listener, "/metrics", *headers)
    assert answer.status == status
    assert (b"tollkeeper_" in answer.body) == (status == 200)
    assert (await get(listener, "/healthz", *headers)).status == 200, (
        "a load balancer calls it as it likes"
    )


async def test_a_head_that_does_not_come_ends_its_connection(listener: str) -> None:
    client = await RawClient.connect(listener)
    await client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    async with guard():
        assert await client.closed()
