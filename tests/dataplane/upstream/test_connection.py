"""One connection to an upstream: whether it may carry a request, on both event loops, with TLS and
without."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from proxy.dataplane.upstream.pool import Pool
from tests.support.raw import Visit, raw_upstream
from tests.support.tls import certificate, server_context
from tests.support.waiting import until

SHUT = (socket.SHUT_WR, b"")
TALK = (None, b"HTTP/1.1 408 Request Timeout\r\n\r\n")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(("how", "said"), [SHUT, TALK], ids=["closed", "unasked bytes"])
def test_what_the_kernel_knows_counts_before_the_loop_knows_it(
    tmp_path: Path, run: Callable[[object], None], tls: bool, how: int | None, said: bytes
) -> None:
    key, cert = certificate(tmp_path) if tls else (None, None)

    async def idle(visit: Visit) -> None:
        raise AssertionError("nothing is asked of it")

    async def judged() -> None:
        context = None if key is None or cert is None else server_context(key, cert)
        async with raw_upstream(idle, context) as upstream:
            trusted = True if cert is None else ssl.create_default_context(cafile=str(cert))
            pool = Pool(
                upstream.url,
                connections_max=1,
                connect_s=600.0,
                pool_s=600.0,
                keepalive_s=600.0,
                context=trusted,
            )
            connection = await pool.acquire()
            await until(
                lambda: connection.usable and upstream.accepted
            )  # the tickets that TLS sends unasked are read
            with socket.socket(
                fileno=os.dup(upstream.accepted[0].get_extra_info("socket").fileno())
            ) as peer:
                peer.send(said)
                if how is not None:
                    peer.shutdown(how)
            assert connection.is_connected(), "no turn of the loop has passed"
            assert not connection.usable
            pool.discard(connection)
            await pool.aclose()

    run(judged())
