"""One POST to a receiver that answers as the world does: late, long, elsewhere, not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from proxy.notify.attempt import RETRY_AFTER_MAX_S, Attempt
from proxy.notify.posting import ANSWER_BYTES_MAX, Poster
from tests.notify.receiver import Hook, hook
from tests.support.raw import Visit, raw_upstream
from tests.support.waiting import guard


@contextlib.asynccontextmanager
async def poster(timeout_s: float = 600.0) -> AsyncIterator[Poster]:
    one = Poster(timeout_s)
    try:
        yield one
    finally:
        await one.aclose()


async def post(to: Hook, timeout_s: float = 600.0) -> Attempt:
    async with guard(), poster(timeout_s) as one:
        return await one.post(to.url, {"webhook-id": "m1"}, b'{"a":1}')


async def test_a_message_is_posted_as_it_is() -> None:
    async with hook() as there:
        assert await post(there) == Attempt("delivered", "HTTP 200: ok")
        [came] = there.posts
        assert came.body == b'{"a":1}' and came.path == "/hook/CANARY"
        assert came.headers["content-type"] == "application/json"
        assert came.headers["user-agent"].startswith("tollkeeper/") and came.id == "m1"


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "delivered"), (202, "delivered"), (204, "delivered"),
        (400, "refused"), (401, "refused"), (403, "refused"), (404, "refused"), (410, "refused"), (413, "refused"),
        (408, "again"), (425, "again"), (429, "again"), (500, "again"), (502, "again"), (503, "again"), (504, "again"),
    ],
)  # fmt: skip
async def test_what_a_status_means(status: int, result: str) -> None:
    async with hook() as there:
        there.status = status
        assert (await post(there)).result == result


@pytest.mark.parametrize(
    ("status", "text", "says"),
    [
        (207, '{"errors":1}', "tells of each part by itself"),
        (200, "\n<!DOCTYPE html><title>Sign in</title>", "a web page and no receiver"),
        (202, "<html><body>x", "a web page and no receiver"),
        (200, "<b>ok</b>", None),
        (204, "", None),
    ],
)
async def test_many_parts_are_delivered_only_by_an_answer_that_takes_all(
    status: int, text: str, says: str | None
) -> None:
    """The place up to which a receiver has all would move past what it has not got."""
    async with hook() as there:

        async def answer(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, content_type="text/html")

        there.answers = [answer] * 2
        one = Poster(600.0, whole=True)
        try:
            found = await one.post(there.url, {}, b"[]")
        finally:
            await one.aclose()
        assert found.result == ("delivered" if says is None else "refused")
        assert says is None or says in found.said
        assert (await post(there)).result == "delivered", "one message is one part"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with hook() as there, hook() as elsewhere:

        async def away(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": elsewhere.url})

        there.answers = [away]
        outcome = await post(there)
        assert outcome.result == "refused" and "write the new URL" in outcome.said
        assert elsewhere.posts == [] and len(there.posts) == 1


@pytest.mark.parametrize(
    ("field", "wait_s"),
    [
        ("7", 7), (" 7 ", 7), ("0", 0), ("99999999999999999999", RETRY_AFTER_MAX_S), ("-5", 0), ("1.5", 0), ("soon", 0), ("", 0),
        ("²", 0), ("Thu, 31 Dec 2099 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_MAX_S),
        ("Fri, 99 Dec 2026 23:59:59 GMT", 0),
    ],
)  # fmt: skip
async def test_how_long_a_receiver_may_ask_to_wait(field: str, wait_s: float) -> None:
    async with hook() as there:

        async def busy(_: web.Request) -> web.StreamResponse:
            return web.Response(
                status=503, headers={"Retry-After": field.encode().decode("latin-1")}
            )

        there.answers = [busy]
        assert (await post(there)).wait_s == wait_s


async def test_a_receiver_that_hangs_is_left() -> None:
    async with hook() as there:
        ended = asyncio.Event()

        async def hang(_: web.Request) -> web.StreamResponse:
            await ended.wait()
            return web.Response()

        there.answers = [hang]
        assert (await post(there, 0.05)).result == "again"
        ended.set()


async def test_a_receiver_that_answers_megabytes_is_read_to_a_bound() -> None:
    async with hook() as there:
        sent = 0

        async def pour(request: web.Request) -> web.StreamResponse:
            nonlocal sent
            answer = web.StreamResponse()
            await answer.prepare(request)
            with contextlib.suppress(ConnectionError):
                for _ in range(1_000):
                    await answer.write(b"x" * 65_536)
                    sent += 65_536
            return answer

        there.answers = [pour]
        outcome = await post(there)
        assert outcome.result == "delivered" and len(outcome.said) < ANSWER_BYTES_MAX
    assert sent < 1_000 * 65_536


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "delivered"),
        (b"HTTP/1.1 503 Later\r\nContent-Length: 50\r\n\r\nhalf", "again"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "again"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "delivered"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "again"),
        (b"", "again"),
        (b"HTTP/1.1 banana\r\n\r\n", "again"),
        (b"\x16\x03\x01\x00", "again"),
        (b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(40_000)) + b"\r\n", "again"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", "again"),
    ],
)  # fmt: skip
async def test_a_connection_that_ends_in_the_middle_counts_by_its_head(
    sent: bytes, result: str
) -> None:
    async def script(visit: Visit) -> None:
        with contextlib.suppress(ConnectionError):
            await visit.send(sent)
        visit.writer.close()

    async with guard(), raw_upstream(script) as there, poster() as one:
        assert (await one.post(there.url, {}, b"{}")).result == result


async def test_nobody_there_is_tried_again_and_no_text_names_the_secret() -> None:
    async with hook() as gone:
        pass
    outcomes = [await post(gone)]
    async with poster() as one:
        outcomes.append(await one.post("http://nowhere.invalid/CANARY", {}, b"{}"))
        outcomes.append(await one.post("https://127.0.0.1:1/CANARY", {}, b"{}"))
    async with hook() as there:

        async def echo(request: web.Request) -> web.StreamResponse:
            return web.Response(status=500, text=f"cannot serve\x1b[31m {there.url}\nnow")

        there.answers = [echo]
        outcomes.append(await post(there))
    assert {one.result for one in outcomes} == {"again"}
    assert "CANARY" not in repr(outcomes)
    assert outcomes[-1].said == "HTTP 500: cannot serve [31m *** now"


@pytest.mark.parametrize(
    "quoted",
    [
        "/hook/CANARY",
        "\\/hook\\/CANARY",
        "hook%2FCANARY&amp;key=CANARY",
    ],
)
async def test_a_receiver_that_quotes_the_path_tells_no_log_of_the_secret(quoted: str) -> None:
    async with hook() as there:

        async def nowhere(_: web.Request) -> web.StreamResponse:
            return web.Response(status=404, text=f"Cannot POST {quoted}")

        there.answers = [nowhere]
        said = (await post(there)).said
        assert said.startswith("HTTP 404: Cannot POST ") and "CANAR" not in said
