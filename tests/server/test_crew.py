"""One `serve` with several processes: exact over all, a killed child comes back, all stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from proxy.config.settings import LedgerSettings, QuotaSettings, Settings
from proxy.ledger import connect_reader
from proxy.server.crew import why_not_several
from tests.cli.process import running as command
from tests.scenarios.test_instances import becomes, instances, place
from tests.scenarios.test_postgresql_ledger import answer, asked, requests
from tests.scenarios.test_shared_processes import AT_ONCE, LIMIT, SECRET, counted, shared
from tests.support.postgres import postgres
from tests.support.process import Process
from tests.support.raw import raw_upstream
from tests.support.running import config
from tests.support.valkey import ValkeyServer, free_port, valkey_server
from tests.support.waiting import until

ANOTHER = "sk-alice-another-1"
EARLY = r"keys\.alice\.secret is shorter"  # what a process says of this config when it begins
READY = (
    r'"message":"ready","base_url":"http://([^"/]+)/v1","metrics":"http://([^"/]+)/metrics"'
    r'.*"message":"ready","base_url":"http://([^"/]+)/v1"'
)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def told(process: subprocess.Popen[str], *texts: str) -> str:
    """What it prints until all of these texts came, one after the other."""
    assert process.stdout is not None
    printed = ""
    for text in texts:
        while text not in printed:
            line = process.stdout.readline()
            assert line, f"ended without {text!r}:\n{printed}"
            assert text in line or " ended with " not in line, line
            printed = line if text in line else printed + line
    return printed


def test_stores_that_are_not_shared_are_refused_with_the_reason() -> None:
    shared_ledger = LedgerSettings(url="postgresql://db/tk")
    assert "ledger.url must name PostgreSQL" in (why_not_several(Settings()) or "")
    assert why_not_several(Settings(ledger=shared_ledger)) is not None
    assert (
        why_not_several(Settings(ledger=shared_ledger, quota=QuotaSettings(url="valkey://h")))
        is None
    )


@pytest.mark.whole  # processes and servers of their own
async def test_several_processes_are_one_proxy(tmp_path: Path) -> None:
    url, one = postgres().database(), place(tmp_path, "one")
    (tmp_path / "valkey").mkdir()
    reader = connect_reader(url, tmp_path)
    with valkey_server(tmp_path / "valkey") as valkey:
        async with raw_upstream(answer) as upstream:
            settings = config(
                upstream.url,
                log={"format": "json", "requests": "none"},
                instance="crew",
                drain={"delay": "0s", "timeout": "30s"},
                **shared(url, valkey.url, f"{LIMIT} requests/day"),
            )
            (one / "config.yaml").write_text(yaml.safe_dump(settings))
            words = ("serve", "-c", "config.yaml", "--processes", "2")
            with command(*words, cwd=one, ready=READY) as (parent, found):
                assert found[1] == found[3]
                proxy = Process(found[1], parent.pid, one / "var", found[2])
                assert instances(one) == {"crew-0": "live", "crew-1": "live"}
                statuses = await asyncio.gather(*(asked(proxy, SECRET) for _ in range(2 * AT_ONCE)))
                assert statuses.count(200) == LIMIT
                assert statuses.count(429) == 2 * AT_ONCE - LIMIT
                await until(lambda: requests(reader) == LIMIT)
                assert counted(one) == (LIMIT, 0)
                first, second = children(parent.pid)
                os.kill(second, signal.SIGKILL)
                await asyncio.to_thread(told, parent, "crew-1 ended with -9", '"ready"')
                assert first in children(parent.pid)
                assert await asked(proxy, SECRET) == 429
                text = (one / "config.yaml").read_text()
                more = text.replace(f"{LIMIT} requests", f"{LIMIT + 1} requests")
                (one / "config.yaml").write_text(more)
                parent.send_signal(signal.SIGHUP)
                await becomes(proxy, SECRET, 200)
                # One that comes back has the config of now, and none that was taken back meanwhile.
                (one / "config.yaml").write_text(more.replace(SECRET, ANOTHER))
                parent.send_signal(signal.SIGHUP)
                await becomes(proxy, SECRET, 401)
                os.kill((*{*children(parent.pid)} - {first},)[0], signal.SIGKILL)
                await asyncio.to_thread(told, parent, "crew-1 ended with -9", '"ready"')
                statuses = await asyncio.gather(*(asked(proxy, SECRET) for _ in range(AT_ONCE)))
                assert statuses == [401] * AT_ONCE
                # Else a Ctrl-C would reach them from the terminal, and again from the parent.
                assert all(os.getpgid(child) == child for child in children(parent.pid))
                parent.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(parent.wait) == 0
                # The second may have been told to stop before it had come back.
                assert instances(one)["crew-0"] == "left"


@pytest.mark.whole  # processes of their own
async def test_children_stop_when_their_parent_was_killed(tmp_path: Path) -> None:
    url, one = postgres().database(), place(tmp_path, "one")
    (tmp_path / "valkey").mkdir()
    with valkey_server(tmp_path / "valkey") as valkey:
        settings = config(
            "http://127.0.0.1:9/v1",
            log={"format": "json"},
            instance="crew",
            drain={"delay": "0s"},
            **shared(url, valkey.url, "5 requests/day"),
        )
        (one / "config.yaml").write_text(yaml.safe_dump(settings))
        words = ("serve", "-c", "config.yaml", "--processes", "2")
        with command(*words, cwd=one, ready=READY) as (parent, _):
            pids = children(parent.pid)
            parent.kill()
            await until(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids))
        assert instances(one) == {"crew-0": "left", "crew-1": "left"}


async def test_a_config_of_one_process_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config("http://127.0.0.1:9/v1")))
    words = ("serve", "-c", "config.yaml", "--processes", "2")
    with command(*words, cwd=tmp_path, ready="quota.url Valkey") as (process, _):
        assert await asyncio.to_thread(process.wait) == 1


def several(root: Path, valkey: ValkeyServer, **blocks: object) -> Path:
    """A directory with a config for several processes, which have no upstream."""
    one = place(root, "one")
    given = {"log": {"format": "json"}, "instance": "crew", "drain": {"delay": "0s"}, **blocks}
    stores = shared(postgres().database(), valkey.url, "5 requests/day")
    settings = config("http://127.0.0.1:9/v1", **{**stores, **given})
    (one / "config.yaml").write_text(yaml.safe_dump(settings))
    return one


@pytest.mark.whole  # processes of their own
async def test_an_address_in_use_is_named_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    words = ("serve", "-c", "config.yaml", "--processes", "2")
    with valkey_server(tmp_path / "valkey") as valkey, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        one = several(tmp_path, valkey, listen=address)
        ended = rf"listen: {address} cannot be opened: Address already in use"
        with command(*words, cwd=one, ready=ended) as (parent, _):
            assert await asyncio.to_thread(parent.wait) == 1
        # That of the first child's metrics. What the parent listens on is in use too, as it must be.
        text = yaml.safe_load((one / "config.yaml").read_text())
        text |= {"listen": f"127.0.0.1:{free_port()}", "metrics": {"listen": address}}
        (one / "config.yaml").write_text(yaml.safe_dump(text))
        ended = rf"Error: metrics\.listen: {address} cannot be opened: .*\n"
        with command(*words, cwd=one, ready=ended) as (parent, found):
            assert "\nlisten:" not in found[0] + await asyncio.to_thread(parent.stdout.read)  # type: ignore[union-attr]
            assert await asyncio.to_thread(parent.wait) == 1


@pytest.mark.whole  # processes of their own
async def test_a_stop_in_the_middle_of_the_start_is_in_order(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    with valkey_server(tmp_path / "valkey") as valkey:
        one = several(tmp_path, valkey)
        words = ("serve", "-c", "config.yaml", "--processes", "2")
        # The first child has begun, and serves nobody yet.
        with command(*words, cwd=one, ready=EARLY) as (parent, _):
            pids = children(parent.pid)
            parent.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(parent.wait) == 0
            await until(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids))


@pytest.mark.whole  # processes of their own
async def test_a_reload_in_the_middle_of_a_start_ends_no_child(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    with valkey_server(tmp_path / "valkey") as valkey:
        one = several(tmp_path, valkey)
        words = ("serve", "-c", "config.yaml", "--processes", "2")
        begun = rf'"ready".*{EARLY}'  # the second child
        with command(*words, cwd=one, ready=begun) as (parent, _):
            parent.send_signal(signal.SIGHUP)
            await asyncio.to_thread(told, parent, *2 * ["the config was reloaded"])
