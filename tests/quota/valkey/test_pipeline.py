"""One pipelined connection: order, bursts, answers in pieces, and answers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.quota.valkey.pipeline import (
    ConnectionLost,
    Pipeline,
    ServerError,
    command,
    fields,
)
from tests.quota.valkey.relay import relay
from tests.support.valkey import ValkeyServer
from tests.support.waiting import guard, until


async def connected(
    port: int, lost: Callable[[Exception | None], None] = lambda reason: None
) -> Pipeline:
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Pipeline(lost), "127.0.0.1", port
    )
    return connection


async def answering(answers: list[bytes]) -> tuple[asyncio.Server, int]:
    """A server that answers a first command with these bytes, piece by piece."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        for answer in answers:
            writer.write(answer)
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_what_is_asked_in_one_turn_leaves_in_one_write(valkey: ValkeyServer) -> None:
    async with relay(valkey.port) as way, guard():
        connection = await connected(way.port)
        answers = await asyncio.gather(
            *(connection.call(b"ECHO", b"%d" % number) for number in range(100))
        )
        assert answers == [b"%d" % number for number in range(100)]
        assert len(way.writes) == 1
        connection.close()


async def test_an_answer_nobody_waits_for_is_not_taken_for_anothers(valkey: ValkeyServer) -> None:
    """The error of clients that left a half-read answer behind."""
    async with guard():
        connection = await connected(valkey.port)
        gone = asyncio.create_task(connection.call(b"ECHO", b"gone"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await connection.call(b"ECHO", b"mine") == b"mine"
        assert await asyncio.gather(gone, return_exceptions=True) != [b"gone"]
        connection.close()


async def test_an_error_is_its_own_commands_alone(valkey: ValkeyServer) -> None:
    async with guard():
        connection = await connected(valkey.port)
        asked = (connection.call(b"NONSENSE"), connection.call(b"ECHO", b"x"))
        wrong, right = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(wrong, ServerError) and str(wrong).startswith("ERR unknown command")
        assert right == b"x"
        connection.close()


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_an_answer_may_come_in_pieces(size: int) -> None:
    whole = b"*3\r\n:1\r\n$-1\r\n$5\r\na\r\nb\xff\r\n"
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    server, port = await answering(pieces)
    async with server, guard():
        connection = await connected(port)
        assert await connection.call(b"X") == [1, None, b"a\r\nb\xff"]
        connection.close()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"+1\r\n+2\r\n"],
)
async def test_what_is_no_answer_ends_the_connection(answer: bytes) -> None:
    """A web server, a TLS listener, and more than was asked."""
    ended: list[Exception | None] = []
    server, port = await answering([answer])
    async with server, guard():
        connection = await connected(port, ended.append)
        try:
            assert await connection.call(b"X") == b"1"
        except ConnectionLost as error:
            assert "cannot be read" in str(error)
        await until(lambda: ended)
        assert not connection.open and len(ended) == 1


async def test_of_answers_that_come_together_each_is_told_once_though_one_ends_the_connection() -> (
    None
):
    server, port = await answering([b"+1\r\n+2\r\n+3\r\n"])
    told: list[tuple[int, Any]] = []
    async with server, guard():
        connection = await connected(port)

        def first(answer: Any) -> None:
            told.append((0, answer))
            connection.close(ConnectionLost("it is left"))

        connection.ask(command(b"X"), first)
        for number in (1, 2):
            connection.ask(command(b"X"), lambda answer, n=number: told.append((n, answer)))  # type: ignore[misc]
        await until(lambda: len(told) >= 3)
        assert [number for number, _ in told] == [0, 1, 2]
        assert told[0][1] == b"1"
        assert all(isinstance(answer, ConnectionLost) for _, answer in told[1:])


async def test_all_who_wait_hear_of_a_lost_connection_once(valkey: ValkeyServer) -> None:
    ended: list[Exception | None] = []
    async with relay(valkey.port) as way, guard():
        connection = await connected(way.port, ended.append)
        way.hold()
        waiting = [asyncio.create_task(connection.call(b"PING")) for _ in range(5)]
        await until(lambda: way.writes)
        way.cut()
        answers: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(answer, ConnectionLost) for answer in answers)
        assert len(ended) == 1
        with pytest.raises(ConnectionLost):
            await connection.call(b"PING")


def test_a_command_and_the_fields_of_info() -> None:
    assert command(b"GET", b"a b") == b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n"
    told = b"# Server\r\nrun_id:abc\r\nos:Linux 6.1: x\r\n\r\nrole:master\r\n"
    assert fields(told) == {"run_id": "abc", "os": "Linux 6.1: x", "role": "master"}
