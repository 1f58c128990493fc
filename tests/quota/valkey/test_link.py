"""The way to real servers: passwords, users, TLS, replicas, restarts, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.quota import QuotaError
from proxy.quota.valkey import script
from proxy.quota.valkey.address import Address, address
from proxy.quota.valkey.link import Link, Peer
from proxy.quota.valkey.pipeline import ConnectionLost, ServerError, command
from tests.quota.valkey.relay import relay
from tests.support.tls import certificate, server_context
from tests.support.valkey import ValkeyServer, free_port, valkey_server
from tests.support.waiting import guard, until

ECHO = "return {ARGV[1], redis.call('SET', KEYS[1], ARGV[1])}"


class Visits:
    """What a link tells of its connections."""

    def __init__(self) -> None:
        self.met: list[Peer] = []
        self.told: list[str] = []

    async def meet(self, peer: Peer) -> None:
        self.met.append(peer)

    def connected(self) -> None:
        self.told.append("connected")

    def disconnected(self) -> None:
        self.told.append("disconnected")


@contextlib.asynccontextmanager
async def linked(to: Address | str, text: str = ECHO) -> AsyncIterator[tuple[Link, Visits]]:
    visits = Visits()
    link = Link(address(to) if isinstance(to, str) else to, text, "tollkeeper-test")
    async with guard():
        try:
            await link.open(visits)
            yield link, visits
        finally:
            await link.aclose()


async def run(link: Link, word: bytes) -> Any:
    """The script's answer, which is the word that it was given, and OK."""
    found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    tail = command(b"1", b"{tk}:x", word).partition(b"\r\n")[2]
    link.run(b"*5\r\n", tail, found.set_result)
    return await found


async def test_it_runs_the_script_also_where_the_server_forgot_it(valkey: ValkeyServer) -> None:
    async with linked(valkey.url) as (link, _):
        for _ in range(3):
            assert await run(link, b"a") == [b"a", b"OK"]
            assert b"+OK" in valkey.ask("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(run(link, b"%d" % number) for number in range(200)))
        assert [answer[0] for answer in answers] == [b"%d" % number for number in range(200)]
        assert b"tollkeeper-test" in valkey.ask("CLIENT", "LIST")


@pytest.mark.parametrize("password", ["secret", "p@ss/w#r?d:%25", "密码 x", "100%"])
async def test_it_signs_in(tmp_path: Path, password: str) -> None:
    with valkey_server(tmp_path) as server:
        server.ask(
            "ACL", "SETUSER", "alice", "on", ">" + password.replace("%25", "%"), "~*", "+@all"
        )
        server.ask("CONFIG", "SET", "requirepass", password.replace("%25", "%"))
        for user in ("", "alice"):
            async with linked(f"valkey://{user}:{password}@127.0.0.1:{server.port}/3") as (link, _):
                assert await run(link, b"a") == [b"a", b"OK"]


@pytest.mark.parametrize(
    ("rights", "signing", "told"),
    [
        ("on >right ~* +@all", "alice:wrong", "WRONGPASS"),
        ("on >right ~* +@all -eval -evalsha", "alice:right", "NOPERM"),
        ("on >right ~* +@all -info", "alice:right", "NOPERM"),
        ("on >right ~other:* +@all", "alice:right", "NOPERM"),
        ("off >right ~* +@all", "alice:right", "WRONGPASS"),
    ],
)
async def test_what_another_attempt_cannot_help_is_an_error_with_its_reason(
    tmp_path: Path, rights: str, signing: str, told: str
) -> None:
    with valkey_server(tmp_path) as server:
        server.ask("ACL", "SETUSER", "alice", *rights.split())
        with pytest.raises(QuotaError, match=rf"quota\.url: .*{told}") as refused:
            async with linked(f"valkey://{signing}@127.0.0.1:{server.port}", script()):
                pass
        assert "right" not in str(refused.value) and "wrong" not in str(refused.value)


async def test_a_server_that_wants_a_password_says_so(tmp_path: Path) -> None:
    with (
        valkey_server(tmp_path, "--requirepass", "x") as server,
        pytest.raises(QuotaError, match="NOAUTH"),
    ):
        async with linked(server.url):
            pass


async def test_a_server_that_drops_keys_is_refused(tmp_path: Path) -> None:
    options = ("--maxmemory", "90mb", "--maxmemory-policy", "allkeys-lru")
    with (
        valkey_server(tmp_path, *options) as server,
        pytest.raises(QuotaError, match="set maxmemory-policy noeviction"),
    ):
        async with linked(server.url):
            pass


async def test_a_web_server_is_waited_for_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, linked(f"valkey://127.0.0.1:{port}") as (link, visits):
        assert link.peer is None and visits.told == []
        assert isinstance(await run(link, b"a"), ConnectionLost)
        assert "cannot be used now" in caplog.text


async def test_it_speaks_tls_and_checks_whom_it_speaks_to(
    tmp_path: Path, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, cert = certificate(tmp_path)
    async with relay(valkey.port, server_context(key, cert)) as way:
        async with linked(f"valkeys://localhost:{way.port}") as (link, _):
            assert link.peer is None and "certificate verify failed" in link.why
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        async with linked(f"valkeys://localhost:{way.port}") as (link, _):
            assert await run(link, b"a") == [b"a", b"OK"]
        async with linked(f"valkeys://127.0.0.1:{way.port}") as (link, _):
            assert link.peer is None and "IP address mismatch" in link.why
        assert ssl.create_default_context().check_hostname


async def test_it_comes_back_when_the_server_does(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as server:
        async with linked(server.url) as (link, visits):
            server.kill()
            await until(lambda: visits.told == ["connected", "disconnected"])
            assert isinstance(await run(link, b"a"), ConnectionLost)
            server.start()
            await until(lambda: visits.told[2:] == ["connected"])
            assert await run(link, b"a") == [b"a", b"OK"]
            assert visits.met[0].run_id != visits.met[1].run_id, "it was another run of the server"


async def test_a_server_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    with valkey_server(tmp_path) as server:
        server.kill()
        async with linked(server.url) as (link, visits):
            assert link.peer is None and "cannot be reached" in link.why
            server.start()
            await until(lambda: visits.told == ["connected"])


async def test_a_replica_is_left_for_whoever_is_primary(
    tmp_path: Path, valkey: ValkeyServer
) -> None:
    with valkey_server(tmp_path) as server:
        async with linked(server.url) as (link, visits):
            server.ask("REPLICAOF", "127.0.0.1", str(valkey.port))
            answer = await run(link, b"a")
            assert isinstance(answer, ServerError) and "READONLY" in str(answer)
            await until(lambda: "is a replica" in link.why)
            server.ask("REPLICAOF", "NO", "ONE")
            await until(lambda: visits.told == ["connected", "disconnected", "connected"])
            assert await run(link, b"a") == [b"a", b"OK"]


async def test_a_connection_that_is_cut_is_made_anew(valkey: ValkeyServer) -> None:
    async with relay(valkey.port) as way, linked(f"valkey://127.0.0.1:{way.port}") as (link, _):
        for _ in range(3):
            before = link.connections
            way.cut()
            await until(lambda: link.connections > before)  # noqa: B023
            assert await run(link, b"a") == [b"a", b"OK"]


@pytest.mark.parametrize("names", ["ip", "hostname", "unknown-endpoint"])
async def test_a_cluster_s_node_leads_to_the_one_that_has_the_keys(
    tmp_path: Path, names: str
) -> None:
    """A cluster of two nodes; the first has none of our keys, and may not know the other's name."""
    directories = [tmp_path / "one", tmp_path / "two"]
    for directory in directories:
        directory.mkdir()
    kind = ("--cluster-preferred-endpoint-type", names)
    options = (*kind, "--cluster-enabled", "yes", "--cluster-port")
    buses = [str(free_port()), str(free_port())]
    with (
        valkey_server(directories[0], *options, buses[0]) as one,
        valkey_server(directories[1], *options, buses[1]) as two,
    ):
        two.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        one.ask("CLUSTER", "MEET", "127.0.0.1", str(two.port), buses[1])
        await until(lambda: b"cluster_state:ok" in one.ask("CLUSTER", "INFO"))
        async with linked(one.url) as (link, visits):
            await until(lambda: visits.told)
            assert await run(link, b"a") == [b"a", b"OK"]
            assert b"{tk}:x" in two.ask("KEYS", "*")


@pytest.mark.parametrize("answer", [b":5\r\n", b"*1\r\n:5\r\n", b"$-1\r\n"])
async def test_what_answers_like_no_server_is_waited_for(
    valkey: ValkeyServer, answer: bytes
) -> None:
    """Something before the server that answers each command for it, until it is mended."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        relay(server.sockets[0].getsockname()[1]) as way,
        linked(f"valkey://127.0.0.1:{way.port}") as (link, visits),
    ):
        assert link.peer is None and "INFO is answered by" in link.why
        way.to_port = valkey.port
        await until(lambda: visits.told == ["connected"])
        assert await run(link, b"a") == [b"a", b"OK"]


async def test_an_answer_that_is_none_of_the_script_s_is_a_lost_connection(
    valkey: ValkeyServer,
) -> None:
    async with linked(valkey.url, "return 5") as (link, _):
        answer = await run(link, b"a")
        assert isinstance(answer, ConnectionLost) and "never says" in str(answer)
        await until(lambda: link.connections == 2)


async def test_a_name_that_cannot_be_one_is_told() -> None:
    async with linked("valkey://a..b") as (link, _):
        assert "cannot be reached" in link.why


@contextlib.asynccontextmanager
async def telling(first: bytes) -> AsyncIterator[str]:
    """The URL of a server that answers all of a first command so, and nothing afterwards."""

    serving: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server's callback is a task"
        serving.add(task)
        while data := await reader.read(65_536):
            if b"INFO" in data or not first.startswith(b"$"):
                writer.write(first)
            else:
                writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"valkey://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*serving)


def info(*lines: str) -> bytes:
    text = "\r\n".join(("redis_version:9.1.2", *lines)).encode()
    return b"$%d\r\n%b\r\n" % (len(text), text)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (info("loading:1", "run_id:a"), "loads its data set"),
        (b"-ERR max number of clients reached\r\n", "max number of clients"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "refuses to serve (LOADING"),
    ],
)
async def test_a_server_that_cannot_serve_yet_is_waited_for(answer: bytes, why: str) -> None:
    async with telling(answer) as url, linked(url) as (link, _):
        assert link.peer is None and why in link.why


async def test_a_server_whose_run_cannot_be_told_is_refused() -> None:
    async with telling(info()) as url:
        with pytest.raises(QuotaError, match="does not tell its run_id"):
            async with linked(url):
                pass


async def test_a_server_that_takes_a_connection_and_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.quota.valkey.link.DIAL_S", 0.05)
    async with telling(b"") as url, linked(url) as (link, _):
        assert link.peer is None


async def test_it_uses_the_database_that_the_url_names(valkey: ValkeyServer) -> None:
    valkey.ask("FLUSHALL")
    async with linked(valkey.url.removesuffix("/0") + "/3") as (link, _):
        assert await run(link, b"a") == [b"a", b"OK"]
    told = valkey.ask("INFO", "keyspace")
    assert b"db3:" in told and b"db0:" not in told
    valkey.ask("FLUSHALL")
