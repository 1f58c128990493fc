"""I1: status, reason, end-to-end headers and bytes pass unchanged, both ways, whatever they are and
however they arrive.

Each case is made from `seed/number` alone; a failure prints that name, and `arbitrary(name)` makes
it again.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from proxy.core.http.content_coding import readable_codings
from tests.support.arbitrary import Arbitrary, Fields, arbitrary
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import config, running
from tests.support.waiting import guard

FRAMING = {b"content-length", b"transfer-encoding"}


def fields(head: bytes) -> Fields:
    """The fields of a head as they were written, without the framing, which each connection has for
    itself."""
    pairs = [line.split(b":", 1) for line in head.split(b"\r\n")[1:]]
    return [(name, value.strip(b" \t")) for name, value in pairs if name.lower() not in FRAMING]


def request_differences(case: Arbitrary, visit: Visit, host: bytes) -> list[str]:
    wrong = []
    if visit.lines[0] != b"POST /v1/chat/completions HTTP/1.1":
        wrong.append(f"request line {visit.lines[0]!r}")
    sent = [
        # of the codings only those that can be undone here: the one value that is not passed on
        (name, readable_codings(value) if name.lower() == b"accept-encoding" else value)
        for name, value in case.request_fields
    ]
    expected = [(b"Host", host), (b"authorization", b"Bearer sk-upstream"), *sent]
    *received, (last, _) = fields(visit.head)
    if received != expected or last != b"Via":
        wrong.append(f"request fields {fields(visit.head)} instead of {expected}")
    if sha256(visit.body).digest() != sha256(case.request_body).digest():
        wrong.append(f"request body {visit.body[:300]!r} instead of {case.request_body[:300]!r}")
    return wrong


def answer_differences(case: Arbitrary, head: bytes, body: bytes, whole: bool) -> list[str]:
    wrong = []
    status_line = b"HTTP/1.1 %d %b" % (case.status, case.reason)
    if head.split(b"\r\n")[0] != status_line:
        wrong.append(f"status line {head.split(chr(13).encode())[0]!r} instead of {status_line!r}")
    received = [pair for pair in fields(head) if pair != (b"Connection", b"close")]
    added = [name for name, _ in received[len(case.answer_fields) :]]
    expected = (
        [b"x-tollkeeper-id"]
        + [b"x-tollkeeper-origin"] * (case.status >= 400)
        + [b"X-Accel-Buffering"] * case.stream
    )
    if received[: len(case.answer_fields)] != case.answer_fields or added != expected:
        wrong.append(f"answer fields {received} instead of {case.answer_fields} and {expected}")
    if not whole or sha256(body).digest() != sha256(case.answer_body).digest():
        wrong.append(
            f"answer body ({'whole' if whole else 'cut'}) {body[:300]!r} instead of {case.answer_body[:300]!r}"
        )
    return wrong


async def run_cases(directory: Path, seed: int, count: int) -> None:
    """One case after another, on client and upstream connections that are kept where the case lets
    them."""
    case = arbitrary(f"{seed}/0")

    async def script(visit: Visit) -> None:
        start = 0
        for end in case.answer_cuts:
            await visit.send(case.answer_wire[start:end])
            await asyncio.sleep(0)  # lets the proxy read what is there, so that the cut is a cut
            start = end
        if case.ends_with_close:
            visit.writer.close()

    upstreams = {"mock": {"base_url": "", "api_key": "sk-upstream", "pass_credential_errors": True}}
    async with raw_upstream(script) as upstream:
        upstreams["mock"]["base_url"] = upstream.url
        host = upstream.url.removeprefix("http://").removesuffix("/v1").encode()
        async with running(directory, config(upstream.url, upstreams=upstreams)) as proxy:
            client = await RawClient.connect(proxy.address)
            for number in range(count):
                case = arbitrary(f"{seed}/{number}")
                start = 0
                for end in case.request_cuts:
                    await client.send(case.request_wire[start:end])
                    await asyncio.sleep(0)
                    start = end
                async with guard():
                    answer = await client.answer()
                wrong = answer_differences(case, answer.head, answer.body, answer.whole)
                if len(upstream.visits) != 1:
                    wrong.append(f"{len(upstream.visits)} requests upstream")
                else:
                    wrong += request_differences(case, upstream.visits[0], host)
                assert not wrong, f"case {seed}/{number}: " + "\n".join(wrong)
                upstream.visits.clear()
                if (b"Connection", b"close") in fields(answer.head):
                    assert b"\r\nTransfer-Encoding: chunked\r\n" in case.request_wire, (
                        f"case {seed}/{number}: a connection is closed for no reason"
                    )
                    assert await client.closed()
                    client = await RawClient.connect(proxy.address)
            await proxy.records(count)
            await client.aclose()


async def test_whatever_is_sent_arrives_unchanged(tmp_path: Path) -> None:
    await run_cases(tmp_path, seed=1, count=300)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10, 20))
async def test_ten_thousand_exchanges_arrive_unchanged(tmp_path: Path, seed: int) -> None:
    await run_cases(tmp_path, seed=seed, count=1000)
