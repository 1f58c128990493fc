"""A process whose limits stand in Valkey: it serves, loses the counts, and has them again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from proxy.config.loader import load
from proxy.core.ids import uuid7
from proxy.core.limits.decisions import Demand
from proxy.core.limits.state import LimitState
from proxy.core.records.canonical import COLUMNS
from proxy.ledger.reading import Stretch
from proxy.server.lifecycle import Server
from proxy.server.startup import StartError
from tests.dataplane.test_hold import ask, error, limited, post, states, stating
from tests.support.postgres import postgres
from tests.support.raw import raw_upstream
from tests.support.running import Running, vocabularies
from tests.support.valkey import ValkeyServer, valkey_server
from tests.support.waiting import GUARD_S, guard

STRICT = {"limit": "3 requests/day", "name": "hard", "enforce": "strict"}
SOFT = {"limit": "900 tokens/day", "name": "soft"}


@pytest.fixture
def valkey(
    tmp_path_factory: pytest.TempPathFactory,
) -> contextlib.AbstractContextManager[ValkeyServer]:
    return valkey_server(tmp_path_factory.mktemp("valkey"))


@contextlib.asynccontextmanager
async def sharing(
    directory: Path, url: str, config: dict[str, object], **quota: object
) -> AsyncIterator[Running]:
    """A process on a quota and a ledger that others may share."""
    path = directory / "config.yaml"
    shared = {"url": url, "timeout": "30s", **quota}
    path.write_text(yaml.safe_dump({**config, "quota": shared}))
    loaded = load(path, {})
    settings = loaded.settings
    async with guard():
        server = await Server.start(loaded, vocabularies=vocabularies())
        try:
            yield Running(server, settings.data_dir)
            await server.drain()
        finally:
            await server.aclose()


def on_postgresql(upstream: str, *limits: object) -> dict[str, object]:
    return {**limited(upstream, *limits), "ledger": {"url": postgres().database()}}


async def whole(proxy: Running) -> None:
    shared = proxy.server.services.quota.shared
    assert shared is not None
    await shared.whole()
    await proxy.server.services.quota.flush()


def told(found: dict[str, LimitState], name: str) -> tuple[int, int]:
    return found[name].used, found[name].held


async def test_counts_that_are_lost_are_restored_and_none_counts_twice(
    tmp_path: Path, valkey: contextlib.AbstractContextManager[ValkeyServer]
) -> None:
    with valkey as server:
        async with raw_upstream(stating(7, 3)) as upstream:
            config = on_postgresql(upstream.url, STRICT, SOFT)
            async with sharing(tmp_path, server.url, config) as proxy:
                for _ in range(2):
                    assert (await post(proxy, ask(max_tokens=5))).status == 200
                found = await states(proxy)
                assert (told(found, "hard"), told(found, "soft")) == ((2, 0), (20, 0))
                server.ask("FLUSHALL")
                answer = await post(proxy, ask(max_tokens=5))
                assert (answer.status, error(answer)["code"]) == (503, "quota_unavailable")
                await whole(proxy)
                assert (await post(proxy, ask(max_tokens=5))).status == 200
                assert (await post(proxy, ask(max_tokens=5))).status == 429
                found = await states(proxy)
                assert (told(found, "hard"), told(found, "soft")) == ((3, 0), (30, 0))
            async with sharing(tmp_path, server.url, config) as proxy:
                assert told(await states(proxy), "hard") == (3, 0), "another start counts nothing"


async def test_while_the_server_is_away_the_modes_of_limits_decide(
    tmp_path: Path, valkey: contextlib.AbstractContextManager[ValkeyServer]
) -> None:
    with valkey as server:
        async with raw_upstream(stating(7, 3)) as upstream:
            config = on_postgresql(upstream.url, SOFT)
            async with sharing(tmp_path, server.url, config, timeout="100ms") as proxy:
                assert (await post(proxy, ask())).status == 200
                server.send(signal.SIGSTOP)
                for _ in range(2):
                    assert (await post(proxy, ask())).status == 200
                server.send(signal.SIGCONT)
                await proxy.server.services.quota.flush()
                assert told(await states(proxy), "soft") == (30, 0)
                server.kill()
                assert (await post(proxy, ask())).status == 200
                server.start()
                await whole(proxy)
                assert told(await states(proxy), "soft") == (40, 0)


async def test_an_operator_may_have_all_refused(
    tmp_path: Path, valkey: contextlib.AbstractContextManager[ValkeyServer]
) -> None:
    outage = dict.fromkeys(("cut", "finish", "warn"), "refuse")
    with valkey as server:
        async with raw_upstream(stating(7, 3)) as upstream:
            config = on_postgresql(upstream.url, SOFT)
            async with sharing(
                tmp_path, server.url, config, timeout="100ms", on_outage=outage
            ) as proxy:
                server.kill()
                answer = await post(proxy, ask())
                assert answer.status == 503
                assert "Nothing was sent" in json.loads(answer.body)["error"]["message"]
                server.start()


async def test_a_server_that_cannot_be_used_keeps_the_process_from_starting(
    tmp_path: Path, valkey: contextlib.AbstractContextManager[ValkeyServer]
) -> None:
    with valkey as server:
        server.ask("CONFIG", "SET", "requirepass", "x")
        url = server.url.replace("://", "://:secret@")
        with pytest.raises(StartError, match=r"quota\.url: .*WRONGPASS") as refused:
            async with sharing(tmp_path, url, on_postgresql("http://127.0.0.1:9", SOFT)):
                pass
        assert "secret" not in str(refused.value)


async def test_what_a_dead_process_held_ends_as_the_book_says(
    tmp_path: Path, valkey: contextlib.AbstractContextManager[ValkeyServer]
) -> None:
    """One request was never sent. Of the other the record is booked, and its end was not counted."""
    with valkey as server:
        async with raw_upstream(stating(7, 3)) as upstream:
            config = on_postgresql(upstream.url, SOFT, {"limit": "9 concurrent", "name": "slots"})
            async with sharing(tmp_path, server.url, config) as proxy:
                assert (await post(proxy, ask())).status == 200
                services, rules = proxy.server.services, proxy.server.snapshot.rules
                assert await services.recorder.drain(GUARD_S)
                reader = services.reader
                [page] = reader.pages(Stretch(through=reader.head()))
                [row] = page.rows
                booked = str(dict(zip(COLUMNS, row, strict=True))["id"])
                limits = rules.limits_for("alice", "research", "mock", "m-1")
                before_ms = services.now_ms() - 60_000
                for id in (booked, uuid7(before_ms, bytes(10))):
                    demand = Demand(exchange_id=id, started_at_ms=before_ms, output_tokens=50)
                    await services.quota.reserve(limits, demand, services.now_ms())
                found = await states(proxy)
                assert (told(found, "soft"), told(found, "slots")) == ((10, 100), (2, 0))
            async with sharing(tmp_path, server.url, config) as proxy:
                quota, now_ms = proxy.server.services.quota, services.now_ms()
                while (now := await quota.states(limits, now_ms))[0].held:
                    await asyncio.sleep(0.01)
                assert [(state.used, state.held) for state in now] == [(20, 0), (0, 0)]
