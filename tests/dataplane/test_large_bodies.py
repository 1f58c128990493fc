"""A large body is read in a process of its own: what comes back is what reading it here would say,
and whatever becomes of the process costs one request at most."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.dialects.registry import BY_ENDPOINT
from proxy.core.errors import ProxyError
from proxy.dataplane.large_bodies import OWN_BYTES, LargeBodies
from tests.dataplane.test_gateway import ask, post
from tests.support.raw import Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import until, until_blocking

LONG = b"x" * OWN_BYTES
PICTURE = (
    b'{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAE"}}'
)
MAX = 2**25


@pytest.fixture
def reading() -> Iterator[LargeBodies]:
    one = LargeBodies()
    yield one
    one.close()


def chat(content: bytes = LONG, more: bytes = b"") -> bytes:
    return b'{"model":"m-1","messages":[{"role":"user","content":"%b"}]%b}' % (content, more)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


CASES = {
    "chat": ("/v1/chat/completions", chat(more=b',"user":"u","metadata":{"a":"b"},"n":3,"models":[]')),
    "pictures": (
        "/v1/chat/completions",
        b'{"model":"m","messages":[{"content":[%b,%b,{"type":"text","text":"%b"}]}]}'
        % (PICTURE, PICTURE, LONG),
    ),
    "half a character": ("/v1/chat/completions", chat(rb"\ud83d" + LONG)),
    "stream options": (
        "/v1/completions",
        b'{ "model":"m","stream":true, "stream_options":{"a":1},"prompt":"%b"}' % LONG,
    ),
    "response": ("/v1/responses", b'{"model":"m","input":"%b","previous_response_id":"r"}' % LONG),
    "message": (
        "/v1/messages",
        b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"%b"}]}' % LONG,
    ),
    "a name twice": ("/v1/chat/completions", chat(more=b',"model":"m-2"')),
    "no JSON": ("/v1/chat/completions", chat() + b"}"),
    "no model": ("/v1/messages", b'{"messages":"%b"}' % LONG),
    "nested": ("/v1/responses", b'{"model":"m","input":%b}' % (b"[" * OWN_BYTES)),
    "many lists": ("/v1/completions", b'{"model":"m","prompt":[%b[]]}' % (b"[]," * OWN_BYTES)),
}  # fmt: skip


@pytest.mark.parametrize("coding", [None, "gzip"])
@pytest.mark.parametrize("name", CASES)
def test_what_comes_back_is_what_reading_it_here_says(
    reading: LargeBodies, name: str, coding: str | None
) -> None:
    endpoint, body = CASES[name]
    dialect = BY_ENDPOINT[endpoint]
    sent = body if coding is None else gzip.compress(body, 0)
    try:
        expected = body, dialect.read_call(endpoint, body), dialect.count_images(body)
    except ProxyError as error:
        with pytest.raises(ProxyError) as refused:
            reading.call(dialect, endpoint, sent, coding, MAX)
        raised = refused.value
        assert (raised.status, raised.type, raised.code, raised.message, raised.param) == (
            error.status, error.type, error.code, error.message, error.param,
        )  # fmt: skip
    else:
        assert reading.call(dialect, endpoint, sent, coding, MAX) == expected
    assert reading.pid is not None, "it was read there"


def call(reading: LargeBodies, body: bytes, coding: str | None = None) -> object:
    return reading.call(BY_ENDPOINT["/v1/chat/completions"], "/v1/chat/completions", body, coding, MAX)  # fmt: skip


def test_a_small_body_and_a_small_compressed_one_start_no_process(reading: LargeBodies) -> None:
    call(reading, chat(b"hi"))
    call(reading, gzip.compress(chat(b"hi")), "gzip")
    assert reading.json_text(b"[1]", None, MAX) == b"[1]"
    assert reading.pid is None


def test_a_small_body_that_is_large_once_decoded_is_read_there(reading: LargeBodies) -> None:
    parts = b"".join(b"%d" % (number * number) for number in range(300_000))
    assert len(gzip.compress(chat(parts))) < OWN_BYTES < len(parts)
    assert call(reading, gzip.compress(chat(parts)), "gzip")[0] == chat(parts)  # type: ignore[index]
    assert reading.pid is not None


def test_what_is_no_call_is_only_asked_to_be_json(reading: LargeBodies) -> None:
    text = b'["%b"]' % LONG
    assert reading.json_text(text, None, MAX) is text
    assert reading.json_text(gzip.compress(text, 0), "gzip", MAX) == text
    assert reading.json_text(b" " * (OWN_BYTES + 1), None, MAX)
    for small in (b"{", text + b"x"):
        with pytest.raises(ProxyError) as refused:
            reading.json_text(small, None, MAX)
        assert refused.value.status == 400


def test_one_that_is_gone_is_replaced_unnoticed(reading: LargeBodies) -> None:
    call(reading, chat())
    first = reading.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    call(reading, chat())
    assert reading.pid not in (None, first)
    assert gone(first)


def test_one_that_hangs_is_killed_and_its_request_refused(reading: LargeBodies) -> None:
    call(reading, chat())
    hanging = reading.pid
    assert hanging is not None
    os.kill(hanging, signal.SIGSTOP)
    reading._answer_s = 0.1
    with pytest.raises(ProxyError) as refused:
        call(reading, chat())
    assert (refused.value.status, refused.value.code) == (503, "body_unread")
    assert reading.pid is None and gone(hanging)


def test_one_that_cannot_be_started_refuses_its_request_alone(
    reading: LargeBodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nonexistent")
        with pytest.raises(ProxyError) as refused:
            call(reading, chat())
        assert (refused.value.status, refused.value.code) == (503, "body_unread")
    call(reading, chat())


def test_the_process_knows_no_secret_and_ends_with_this_one(
    reading: LargeBodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-upstream")
    call(reading, chat())
    pid = reading.pid
    assert pid is not None
    assert b"sk-upstream" not in Path(f"/proc/{pid}/environ").read_bytes()
    reading._reader._socket.close()  # type: ignore[union-attr]  # as if this process had ended
    until_blocking(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    reading.close()
    assert gone(pid)
    with pytest.raises(ProxyError):
        call(reading, chat())


async def test_a_request_passes_as_it_came_whatever_becomes_of_the_process(tmp_path: Path) -> None:
    body = chat()

    async def script(visit: Visit) -> None:
        await visit.answer(b"{}")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        reading = proxy.server.services.large_bodies
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        assert (await ask(proxy.address, post(body))).status == 200
        before = turns
        assert (await ask(proxy.address, post(body))).status == 200
        assert turns - before > 10, "the loop turns while the body is being read"
        turning.cancel()
        pid = reading.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
        assert (await ask(proxy.address, post(body))).status == 200
        assert (await ask(proxy.address, post(body + b"x"))).status == 400
        assert [visit.body for visit in upstream.visits] == [body] * 3
        assert len(await proxy.records(3)) == 3
        last = reading.pid
    assert last is not None
    assert gone(last)
