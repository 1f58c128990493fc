"""`tollkeeper reload` reaches all children of one parent, and says what each has done."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import yaml

from tests.cli.process import running as command
from tests.scenarios.test_instances import begun
from tests.scenarios.test_postgresql_ledger import answer, asked, tollkeeper
from tests.scenarios.test_shared_processes import SECRET
from tests.server.test_crew import ANOTHER, READY, children, several
from tests.support.process import Process
from tests.support.raw import raw_upstream
from tests.support.valkey import valkey_server
from tests.support.waiting import guard

pytestmark = pytest.mark.whole  # processes of their own

TRIES = 20  # of which both children get some
STREAMS = 10


def said(directory: Path, *words: str) -> str:
    """What `tollkeeper reload` says, or how it fails."""
    try:
        return tollkeeper(directory, "reload", "-c", "config.yaml", *words)
    except AssertionError as failed:
        return f"FAILED {failed}"


async def test_a_reload_reaches_all_children_or_none(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    words = ("serve", "-c", "config.yaml", "--processes", "2")
    with valkey_server(tmp_path / "valkey") as valkey:
        async with raw_upstream(answer) as upstream, guard():
            one = several(tmp_path, valkey, teams={"research": {}})
            path = one / "config.yaml"
            whole = path.read_text().replace("http://127.0.0.1:9/v1", upstream.url)
            path.write_text(whole)
            with command(*words, cwd=one, ready=READY) as (parent, found):
                proxy = Process(found[1], parent.pid, one / "var", found[2])
                path.write_text(whole.replace("research", "resarch", 1))
                assert "FAILED" in await asyncio.to_thread(said, one)
                assert [await asked(proxy, SECRET) for _ in range(TRIES)] == [200] * TRIES
                path.write_text(whole.replace(SECRET, ANOTHER))
                assert "crew-1: reloaded." in await asyncio.to_thread(said, one)
                assert [await asked(proxy, SECRET) for _ in range(TRIES)] == [401] * TRIES
                assert [await asked(proxy, ANOTHER) for _ in range(TRIES)] == [200] * TRIES
                streams = [await begun(proxy, ANOTHER) for _ in range(STREAMS)]
                path.write_text(yaml.safe_dump(yaml.safe_load(whole) | {"keys": {}}))
                ended = await asyncio.to_thread(said, one, "--cut", "--reason", "she left")
                assert f"Requests that were ended: {STREAMS}." in ended
                assert all(b"key_revoked" in body for body in await asyncio.gather(*streams))
                os.kill(children(parent.pid)[1], signal.SIGKILL)
                path.write_text(whole)
                ended = await asyncio.to_thread(said, one)
                assert "FAILED" in ended and "crew-1 keeps its config: it does not answer" in ended
                parent.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(parent.wait) == 0
