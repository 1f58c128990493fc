"""What is asked before a request is sent: how its body is read, and that it passes as it came."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pytest

from proxy.dataplane.admission import Admission
from tests.dataplane.test_gateway import BODY, ask, post
from tests.support.raw import Visit, raw_upstream
from tests.support.running import config, running


async def test_a_compressed_body_is_read_from_a_copy_and_passes_as_it_came(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(b"{}")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        packed = gzip.compress(BODY)
        assert (await ask(proxy.address, post(packed, "Content-Encoding: gzip"))).status == 200
        assert (
            upstream.visits[0].body == packed
            and upstream.visits[0].header("content-encoding") == b"gzip"
        )
        assert (await proxy.records(1))[0]["model_requested"] == "m-1"


LARGE = b'{"model":"m-1","messages":[' + b"{}," * 400_000 + b"{}]}"


@pytest.mark.parametrize(
    "request_",
    [post(LARGE), post(gzip.compress(BODY), "Content-Encoding: gzip")],
    ids=["large", "gzip"],
)
async def test_a_body_that_takes_long_to_read_is_read_beside_the_loop(
    tmp_path: Path, request_: bytes
) -> None:
    seen: list[bool] = []

    async def script(visit: Visit) -> None:
        await visit.answer(b"{}")

    async def look(admission: Admission) -> None:
        while True:
            seen.append(admission._one_aside.locked())
            await asyncio.sleep(0)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        looking = asyncio.create_task(look(proxy.server.front.gateway._admission))
        assert (await ask(proxy.address, request_)).status == 200
        looking.cancel()
        assert any(seen), "the loop turns while the body is being read"
        assert not proxy.server.front.gateway._admission._one_aside.locked()
