"""A proxy that is killed while a notice is on its way tells it again, under the same id."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.dataplane.test_hold import ask, stating
from tests.notify.receiver import hook
from tests.support.process import proxy_process
from tests.support.raw import raw_upstream
from tests.support.running import KEY
from tests.support.waiting import until

pytestmark = pytest.mark.whole


async def test_a_kill_between_the_message_and_its_note(tmp_path: Path) -> None:
    """The receiver has the message, and the process is dead before it knows that. At least once is
    the rule: the receiver sees an id that it knows."""
    async with raw_upstream(stating(60, 40)) as upstream, hook() as there:
        said = {
            "keys": {"alice": {"team": "research", "secret": KEY, "limits": ["100 tokens/total"]}},
            "notify": [{"url": there.url, "events": ["limit_reached"]}],
        }
        with proxy_process(tmp_path, upstream.url, **said) as proxy:

            async def kill(_: web.Request) -> web.StreamResponse:
                os.kill(proxy.pid, signal.SIGKILL)
                return web.Response()

            there.answers = [kill]
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
            async with aiohttp.ClientSession(headers=headers) as session:
                url = f"http://{proxy.address}/v1/chat/completions"
                async with session.post(url, data=ask()) as answer:
                    assert answer.status == 200
            await until(lambda: there.posts)
        for _ in range(2):
            with proxy_process(tmp_path, upstream.url, **said) as proxy:
                await until(lambda: len(there.posts) == 2)
        assert there.posts[0].id == there.posts[1].id
        assert there.posts[0].body == there.posts[1].body
