"""What a log line shows and what it must never show. The canaries are secrets and content planted
where lines are made."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sqlite3

import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from proxy.core.errors import ProxyError
from proxy.server import logs

CANARY = "c4n4ry7"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """`configure` is for the whole process: give it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level


@pytest.fixture(params=["text", "json"])
def output(request):
    stream = io.StringIO()
    logs.configure(request.param, stream, level=logging.DEBUG)
    return stream


@pytest.fixture
def json_lines():
    stream = io.StringIO()
    logs.configure("json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("format", "stream", "is_json"),
    [
        ("auto", Screen, False),
        ("auto", io.StringIO, True),
        ("text", io.StringIO, False),
        ("json", Screen, True),
    ],
)
def test_text_on_a_terminal_and_json_else(format, stream, is_json):
    written = stream()
    logs.configure(format, written)
    logging.getLogger("tollkeeper.server").info(
        "listening on %s", "127.0.0.1:8790", extra={"fields": {"id": "7"}}
    )
    logging.getLogger("tollkeeper.server").debug("not at this level")
    [line] = written.getvalue().splitlines()
    if is_json:
        entry = json.loads(line)
        assert entry.pop("time").endswith("Z")
        assert entry == {
            "level": "info",
            "logger": "tollkeeper.server",
            "message": "listening on 127.0.0.1:8790",
            "id": "7",
        }
    else:
        assert line.endswith("Z INFO tollkeeper.server: listening on 127.0.0.1:8790 id=7")


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization:{CANARY} second {CANARY}",
        f"b'Authorization', b'{CANARY}'",
        f'{{"authorization": "Basic {CANARY}"}}',
        f"(b'x-api-key', b'{CANARY}')",
        f"api-key: {CANARY}",
        f"Proxy-Authorization: Digest username={CANARY}",
        f"Cookie: a=b; c={CANARY}",
        f"Set-Cookie: {CANARY}",
        f"got bearer {CANARY}, no more",
        f"BEARER   {CANARY}",
        f"header=Bearer%20{CANARY}",
        f"key sk-{CANARY}",
        f"sk-tk-{CANARY}{CANARY}",
        f"sk-proj-{CANARY}-_x",
        f"key=sk-ant-api03-{CANARY}",
        f"sk_live_{CANARY}",
        f"gsk_{CANARY}",
        f"api_key={CANARY}",
        f"api_key: '{CANARY}'",
        f'"secret":"{CANARY}"',
        f"https://example.com/v1?api_key={CANARY}&a=b",
        f"?token={CANARY}",
        f"password = '{CANARY}'",
    ],
)
def test_nothing_that_looks_like_a_credential_leaves(output, text):
    logging.getLogger("tollkeeper.x").error(text)
    logging.getLogger("tollkeeper.x").error("%s", text, extra={"fields": {"detail": text}})
    logging.getLogger("other.package").error("it said: %s", text)
    try:
        raise OSError(text)
    except OSError:
        logging.getLogger("tollkeeper.x").exception("failed")
    assert output.getvalue().count("\n") >= 4
    assert CANARY not in output.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "keys.alice.secret: is empty, so that key is disabled",
        "upstreams.up.api_key: ${UP_KEY} is not set",
        "input_tokens=12 output_tokens=3",
        "the task-runner's disk-usage is at 90%",
        "prices: gpt-4o is priced per 1,000,000 tokens",
        "ask for sk- keys",
    ],
)
def test_messages_without_a_credential_stay_whole(text):
    assert logs.redact(text) == text


@pytest.mark.parametrize(
    "error",
    [
        BadHttpMessage(f"Invalid header value char:\n\n  b'x-canary: {CANARY}\\x00'\n     ^"),
        ValueError(f"invalid literal: {CANARY}"),
        KeyError(CANARY),
        UnicodeDecodeError("utf-8", CANARY.encode() + b"\xff", 7, 8, CANARY),
        ExceptionGroup(CANARY, [ValueError(CANARY), KeyError(CANARY)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_tells_its_type_and_place_not_the_value(output, error):
    for name in ("aiohttp.server", "asyncio", "tollkeeper.exchange"):
        try:
            try:
                raise error
            except Exception as first:
                raise RuntimeError(CANARY) from first
        except RuntimeError:
            logging.getLogger(name).exception("Error handling request from %s", "127.0.0.1")
    assert CANARY not in output.getvalue()
    assert output.getvalue().count(type(error).__name__) == 3
    assert "RuntimeError" in output.getvalue()
    assert "test_logs.py" in output.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/data/journal/w0"),
        sqlite3.OperationalError("database is locked"),
        ProxyError(503, "api_error", "overloaded", "Full."),
    ],
)
def test_an_operator_is_told_what_the_system_said(output, error):
    logging.getLogger("tollkeeper.journal").error("cannot write", exc_info=error)
    assert str(error) in output.getvalue().replace("\\\\", "\\")


def test_a_chain_of_exceptions_that_bites_its_tail_ends(output):
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    logging.getLogger("tollkeeper.x").error("failed", exc_info=first)
    assert output.getvalue().count("ValueError") == output.getvalue().count("KeyError") == 4


@pytest.mark.parametrize("name", ["asyncio", "aiohttp.server", "aiohttp.client"])
def test_quoted_values_in_other_packages_messages_are_taken_out(output, name):
    logging.getLogger(name).error(
        "Exception in callback Protocol.data_received(b'%s\\'x') handle: <Handle f(\"%s\")>",
        CANARY,
        CANARY,
    )
    assert CANARY not in output.getvalue()
    assert "Exception in callback Protocol.data_received" in output.getvalue()


async def test_a_malformed_header_does_not_reach_the_log(output):
    async def handle(request: web.BaseRequest) -> web.Response:
        raise ValueError(request.headers["x-canary"])

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for head in (
        f"x-canary: {CANARY}",
        f"Authorization: Bearer \x00{CANARY}",
        f"x canary: {CANARY}",
        f"x-long: {CANARY * 3000}",
    ):
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(f"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{head}\r\n\r\n".encode())
        await reader.read()
        writer.close()
        await writer.wait_closed()
    await runner.cleanup()
    assert output.getvalue().count("aiohttp.server") >= 4, (
        "aiohttp no longer logs these: then this guard can go"
    )
    assert CANARY not in output.getvalue()


def test_no_value_can_imitate_a_line_or_a_field():
    stream = io.StringIO()
    logs.configure("text", stream)
    logging.getLogger("tollkeeper.x").info(
        "one\ntwo\r\x1b[2J\u2028three",
        extra={"fields": {"model": "m status=200\nINFO", "key": "a b", "team": None}},
    )
    [line] = stream.getvalue().splitlines()
    assert line.endswith('one two��[2J�three model="m status=200\\nINFO" key="a b"')


def test_a_line_is_bounded_and_a_name_that_utf8_cannot_carry_is_written(output):
    logging.getLogger("tollkeeper.x").info(
        "x" * 100_000, extra={"fields": {"model": "\ud800" + "y" * 100_000}}
    )
    assert output.getvalue().count("\n") == 1
    assert len(output.getvalue()) < 2 * logs.LINE_CHARACTERS_MAX + 1_000
    output.getvalue().encode()


def test_a_line_that_cannot_be_written_is_dropped_in_silence(capsys):
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    logs.configure("json", Broken())
    logging.getLogger("tollkeeper.x").info("%s", CANARY)
    assert capsys.readouterr() == ("", "")


def test_a_pipe_that_nobody_reads_delays_no_line():
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb"), os.fdopen(writes, "w") as stream:
        logs.configure("json", stream)
        for _ in range(100):
            logging.getLogger("tollkeeper.x").info("x" * 1000)
        logging.getLogger().handlers = []
