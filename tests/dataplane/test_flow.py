"""The short way of a stream's chunks, seen from outside: it is taken, and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.answer_meter import AnswerMeter
from proxy.core.dialects.anthropic_messages.meter import MessageMeter
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_responses.meter import ResponseMeter
from proxy.core.errors import ProxyError
from proxy.dataplane.exchange import Exchange
from proxy.dataplane.flow import open_flow
from proxy.dataplane.progress import MARK_STEP_TOKENS, Progress
from proxy.journal.writer import Journal
from tests.support.effort import examples
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

ASK = b'{"model":"m-1","stream":true,"messages":[]}'
SECRET = "sk-upstream-" + "0123456789" * 5
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":999}}\n\n'
DONE = b"data: [DONE]\n\n"
WORDS = [" word" * 4, " another" * 3, " and" * 6, ".", " 好" * 5, " so" * 7]


def text(content: str, **fields: object) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    whole = {"id": "c", "model": "m-1", "choices": [choice], **fields}
    return b"data: " + json.dumps(whole, ensure_ascii=False).encode() + b"\n\n"


def framed(chunk: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


def long(count: int, **fields: object) -> list[bytes]:
    return [text(WORDS[number % len(WORDS)], **fields) for number in range(count)]


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The chunks that a meter has read itself."""
    seen: list[bytes] = []
    feed = ChatMeter.feed

    def fed(self: ChatMeter, chunk: bytes) -> None:
        seen.append(chunk)
        feed(self, chunk)

    monkeypatch.setattr(ChatMeter, "feed", fed)
    yield seen


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The tokens that each mark of the journal covers."""
    seen: list[int] = []
    mark = Journal.mark

    def marked(self: Journal, entry: object) -> None:
        seen.append(entry.output_tokens)  # type: ignore[attr-defined]
        mark(self, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "mark", marked)
    yield seen


async def ask(proxy: Running, body: bytes = ASK) -> RawClient:
    client = await RawClient.connect(proxy.address)
    await client.post(body)
    return client


async def relayed(proxy: Running) -> bytes:
    client = await ask(proxy)
    answer = await client.answer()
    await client.aclose()
    assert answer.whole
    return answer.body


async def one_by_one(visit: Visit, chunks: list[bytes], seen: list[int]) -> None:
    """Each chunk once the client has the one before: so that each comes in a read of its own."""
    await visit.stream(end=False)
    for number, chunk in enumerate(chunks):
        await until(lambda number=number: seen[0] >= number)
        await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    await visit.send(b"0\r\n\r\n")


async def received(client: RawClient, seen: list[int]) -> list[bytes]:
    await client.head()
    chunks: list[bytes] = []
    while chunk := await client.chunk():
        chunks.append(chunk)
        seen[0] += 1
    return chunks


@pytest.mark.parametrize("fields", [{}, {"usage": None}, {"obfuscation": "xyz"}], ids=str)
@pytest.mark.parametrize("asked", [False, True], ids=["plain", "asked on the client's behalf"])
async def test_a_stream_passes_as_it_came_and_few_of_its_chunks_are_looked_at(
    tmp_path: Path,
    looked_at: list[bytes],
    marked: list[int],
    fields: dict[str, object],
    asked: bool,
) -> None:
    chunks = [*long(250, **fields), USAGE, DONE]
    seen = [0]

    async def script(visit: Visit) -> None:
        await one_by_one(visit, chunks if not asked else [*chunks[:-2], USAGE + DONE], seen)

    settings = config("")
    async with raw_upstream(script) as upstream:
        mock = {"base_url": upstream.url, "api_key": SECRET}
        settings["upstreams"] = {"mock": mock | ({"stream_usage": "inject"} if asked else {})}
        async with running(tmp_path, settings) as proxy:
            client = await ask(proxy)
            got = await received(client, seen)
            await client.aclose()
            assert b"".join(got) == b"".join(chunks if not asked else [*chunks[:-2], DONE])
            [row] = await proxy.records(1)
    assert (row["outcome"], row["source"]) == ("completed", "reported")
    assert (row["input_tokens"], row["output_tokens"]) == (7, 999)
    assert row["chunks"] == len(chunks) - asked
    assert row["bytes_out"] == sum(map(len, chunks))
    assert len(looked_at) < 20
    assert marked[:2] == [MARK_STEP_TOKENS, 2 * MARK_STEP_TOKENS]


def typed(kind: str, **members: object) -> bytes:
    data = json.dumps({"type": kind, **members}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def response(count: int) -> list[bytes]:
    """A stream of the Responses API, with the numbers and the padding that OpenAI sends."""
    response: dict[str, object] = {"id": "resp_1", "object": "response", "model": "m-1"}
    deltas = [
        typed("response.output_text.delta", sequence_number=number + 1, item_id="msg_1", output_index=0,
              content_index=0, delta=WORDS[number % len(WORDS)] + "\n" * (number % 3), logprobs=[],
              obfuscation="x" * (number % 8))
        for number in range(count)
    ]  # fmt: skip
    usage = {"input_tokens": 7, "output_tokens": 999}
    whole = response | {"status": "completed", "output": [], "usage": usage}
    return [typed("response.created", response=response), *deltas, typed("response.completed", response=whole)]  # fmt: skip


def message(count: int) -> list[bytes]:
    """A stream of the Messages API."""
    usage = {"input_tokens": 7, "output_tokens": 1}
    text = {"type": "text_delta"}
    deltas = [
        typed("content_block_delta", index=0, delta=text | {"text": WORDS[number % len(WORDS)] + "\n" * (number % 3)})
        for number in range(count)
    ]  # fmt: skip
    return [
        typed("message_start", message={"id": "msg_1", "type": "message", "model": "m-1", "content": [], "usage": usage}),
        typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *deltas,
        typed("content_block_stop", index=0),
        typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 999}),
        typed("message_stop"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "meter", "stream", "body"),
    [
        ("/v1/responses", ResponseMeter, response, b'{"model":"m-1","stream":true,"input":"a"}'),
        ("/v1/messages", MessageMeter, message, b'{"model":"m-1","stream":true,"max_tokens":9000,"messages":[{"role":"user","content":"a"}]}'),
    ],
    ids=["responses", "messages"],
)  # fmt: skip
async def test_streams_of_other_wires_pass_as_they_came_and_few_chunks_are_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    marked: list[int],
    path: str,
    meter: type[AnswerMeter],
    stream: Callable[[int], list[bytes]],
    body: bytes,
) -> None:
    chunks, seen, looked_at = stream(250), [0], [0]
    feed = meter.feed

    def fed(self: AnswerMeter, chunk: bytes) -> None:
        looked_at[0] += 1
        feed(self, chunk)

    monkeypatch.setattr(meter, "feed", fed)

    async def script(visit: Visit) -> None:
        await one_by_one(visit, chunks, seen)

    async with raw_upstream(script) as upstream:
        vendor = {"base_url": upstream.url, "api_key": SECRET, "apis": ["responses", "messages"]}
        async with running(tmp_path, config("", upstreams={"mock": vendor})) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.post(body, path=path)
            got = await received(client, seen)
            await client.aclose()
            assert b"".join(got) == b"".join(chunks)
            [row] = await proxy.records(1)
    assert (row["outcome"], row["source"]) == ("completed", "reported")
    assert (row["input_tokens"], row["output_tokens"]) == (7, 999)
    assert row["bytes_out"] == sum(map(len, chunks))
    assert looked_at[0] < 20
    assert marked[:2] == [MARK_STEP_TOKENS, 2 * MARK_STEP_TOKENS]


async def test_the_error_that_ends_a_response_has_the_number_behind_the_last(
    tmp_path: Path,
) -> None:
    """An admin closes the key while its chunks take the short way."""
    chunks, seen = response(30)[:-1], [0]

    async def script(visit: Visit) -> None:
        await one_by_one(visit, chunks, seen)

    async with raw_upstream(script) as upstream:
        upstreams = {"mock": {"base_url": upstream.url, "api_key": SECRET}}
        async with running(tmp_path, config("", upstreams=upstreams)) as proxy:
            client = await RawClient.connect(proxy.address)
            await client.post(b'{"model":"m-1","stream":true,"input":"a"}', path="/v1/responses")
            await client.head()
            for _ in range(20):
                await client.chunk()
                seen[0] += 1
            [exchange] = proxy.server.services.exchanges
            exchange.stop(ProxyError(403, "permission_error", "key_disabled", "closed"))
            rest = b""
            while part := await client.chunk():
                rest += part
            await client.aclose()
    events = [json.loads(one.partition(b"data: ")[2]) for one in rest.split(b"\n\n")[:-1]]
    assert [event["type"] for event in events[-2:]] == ["response.failed", "error"]
    assert [event["sequence_number"] for event in events] == [*range(20, 20 + len(events))]


async def test_a_key_in_a_text_is_hidden_however_many_texts_were_none(
    tmp_path: Path, looked_at: list[bytes]
) -> None:
    before, behind = long(60), long(20)
    chunks = [*before, text(f" the key is {SECRET}"), *behind]
    seen = [0]

    async def script(visit: Visit) -> None:
        await one_by_one(visit, chunks, seen)

    async with raw_upstream(script) as upstream:
        upstreams = {"mock": {"base_url": upstream.url, "api_key": SECRET}}
        async with running(tmp_path, config("", upstreams=upstreams)) as proxy:
            client = await ask(proxy)
            got = await received(client, seen)
            await client.aclose()
    assert b"".join(got) == b"".join(chunks).replace(SECRET.encode(), b"*" * len(SECRET))
    assert len(looked_at) < 60


async def test_a_limit_ends_a_stream_on_the_short_way_as_on_any(tmp_path: Path) -> None:
    seen = [0]

    async def script(visit: Visit) -> None:
        await one_by_one(visit, long(500), seen)

    async with raw_upstream(script) as upstream:
        limits = [{"limit": "1500 tokens/day", "enforce": "cut"}]
        keys = {"alice": {"team": "research", "secret": "sk-test", "limits": limits}}
        async with running(tmp_path, config(upstream.url, keys=keys)) as proxy:
            client = await ask(proxy)
            got = await received(client, seen)
            await client.aclose()
            [row] = await proxy.records(1)
    assert got[-1].startswith(b'data: {"error"')
    passed = b"".join(got[:-1])
    assert passed == b"".join(long(500))[: len(passed)]
    assert row["outcome"] == "cut"
    assert 1400 < int(str(row["output_tokens"])) <= 1500


async def test_a_client_that_reads_slowly_pauses_the_upstream(tmp_path: Path) -> None:
    chunks = long(60_000)

    async def script(visit: Visit) -> None:
        await visit.stream(end=False)
        for chunk in chunks:
            await visit.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await visit.send(b"0\r\n\r\n")

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await ask(proxy)
        await client.head()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]

        def paused() -> bool:
            for exchange in proxy.server.services.exchanges:
                assert isinstance(exchange, Exchange)
                connection = exchange.relay._connection
                return connection is not None and connection._reading_paused
            return False

        await until(paused)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = b""
        while part := await client.chunk():
            got += part
        assert got == b"".join(chunks)
        [row] = await proxy.records(1)
        assert row["bytes_out"] == len(got)
        await client.aclose()


async def test_a_client_that_leaves_on_the_short_way_pays_for_what_was_delivered(
    tmp_path: Path,
) -> None:
    chunks = long(120)
    seen = [0]

    async def script(visit: Visit) -> None:
        await one_by_one(visit, chunks, seen)

    async with raw_upstream(script) as upstream, running(tmp_path, config(upstream.url)) as proxy:
        client = await ask(proxy)
        await client.head()
        for _ in range(60):
            await client.chunk()
            seen[0] += 1
        seen[0] = 0  # no more comes
        await client.aclose()
        [row] = await proxy.records(1)
    delivered = sum(len(WORDS[number % len(WORDS)].encode()) for number in range(60))
    assert row["outcome"] == "client_closed"
    least = -(-delivered // 4)
    assert least <= int(str(row["output_tokens"])) <= least + 8


class Ends:
    """What stands at both ends of a flow, and beside it: it notes what is done with it."""

    def __init__(
        self, *, until_tokens: int | None = None, unsearched_bytes: int = 37, paused: bool = False
    ) -> None:
        self.until_tokens = until_tokens
        self.unsearched_bytes = unsearched_bytes
        self.paused = paused
        self.pass_on: Callable[[bytes], bytes] | None = None
        self.written: list[bytes] = []
        self.pauses = 0

    def flow(self, pass_on: Callable[[bytes], bytes] | None) -> None:
        self.pass_on = pass_on

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        self.pauses += 1


def opened(
    ends: Ends, progress: Progress | None = None, **fields: object
) -> Callable[[bytes], bytes] | None:
    """The short way behind three chunks that were looked at, of 48 bytes of text."""
    progress = progress or Progress(0.0)
    progress.meter = meter = ChatMeter(stream=True, text_bytes_max=None)
    for _ in range(3):
        meter.feed(text("x" * 16, **fields))
    progress.mark("x")
    open_flow(ends, ends, ends, progress, ends)  # type: ignore[arg-type]
    return ends.pass_on


def passes(ends: Ends, size: int) -> int:
    """How many chunks with so much text pass one after the other, of a hundred."""
    pass_on, count = opened(ends), 0
    assert pass_on is not None
    while count < 100 and not pass_on(framed(text("y" * size))):
        count += 1
    return count


def test_a_text_that_may_be_a_key_is_left_to_be_looked_at() -> None:
    assert (passes(Ends(unsearched_bytes=19), 19), passes(Ends(unsearched_bytes=19), 20)) == (
        100,
        0,
    )


def test_text_passes_only_as_far_as_the_limits_hold_room_for_it() -> None:
    assert passes(Ends(), 20) == 100, "the journal covers 512 tokens, of four bytes each"
    assert passes(Ends(until_tokens=112), 20) == 20, "112 tokens, of which 12 were there"


def test_many_of_one_read_use_up_the_room_of_the_next() -> None:
    ends = Ends(until_tokens=112)
    pass_on = opened(ends)
    assert pass_on is not None
    eight = framed(text("y" * 20)) * 8
    assert [len(pass_on(eight)) * 8 // len(eight) for _ in range(4)] == [0, 0, 4, 8]


def test_a_client_that_is_slow_pauses_the_upstream_with_the_chunk_that_made_it_wait() -> None:
    ends = Ends()
    pass_on = opened(ends)
    assert pass_on is not None
    chunk = framed(text("y"))
    assert pass_on(chunk) == b"" and not ends.pauses
    ends.paused = True
    assert pass_on(chunk) == b"" and ends.pauses == 1
    assert ends.written == [chunk, chunk]
    assert opened(Ends(paused=True)) is None


def test_what_is_like_the_last_passes_in_one_write_and_the_rest_is_left() -> None:
    ends = Ends()
    pass_on = opened(ends)
    assert pass_on is not None
    alike, other = framed(text("y")) + framed(text("z")), framed(DONE)
    for rest in (b"", other, other + alike, alike[:9], b"0\r\n\r\n", b"no chunk"):
        ends.written.clear()
        assert pass_on(alike + rest) == rest
        assert ends.written == [alike]
    ends.written.clear()
    assert pass_on(other) == other and not ends.written


CHUNKS = st.one_of(
    st.sampled_from(["", "y", " word", " 好", '"', "\n", "\\", "x" * 25, "x" * 26]).map(text),
    st.sampled_from(
        [
            text("y")[:60],
            text("y")[60:],
            text("")[:-36],
            text("")[-36:],
            text("y") + text("z"),
            text("y", usage=None),
            text("y").replace(b"y", b"y\r\n"),
            text("y").replace(b"y", b"y\n"),
            text("y").replace(b"y", b'y"'),
            DONE,
            b": comment\n\n",
        ]
    ),
)


@settings(max_examples=examples(600))
@given(
    st.lists(st.one_of(st.sampled_from(WORDS).map(text), CHUNKS), min_size=1, max_size=40),
    st.sampled_from([None, 20, 60]),
    st.sampled_from([3, 12, 37]),
    st.sampled_from([{}, {"obfuscation": "xyz"}]),
    st.sampled_from([b"", b"0\r\n\r\n", b"c", framed(text("y"))[:-1]]),
)
def test_many_chunks_of_one_read_pass_as_they_do_one_by_one(
    chunks: list[bytes],
    until_tokens: int | None,
    unsearched_bytes: int,
    fields: dict[str, object],
    end: bytes,
) -> None:
    def both() -> tuple[Ends, Progress, Callable[[bytes], bytes]]:
        ends, progress = (
            Ends(until_tokens=until_tokens, unsearched_bytes=unsearched_bytes),
            Progress(0.0),
        )
        pass_on = opened(ends, progress, **fields)
        assert pass_on is not None
        return ends, progress, pass_on

    def figures(ends: Ends, progress: Progress) -> tuple[object, ...]:
        meter = progress.meter
        assert meter is not None and meter.texts is not None
        meter.take_over()
        figures = (progress.bytes_out, meter.output_measure, meter.text_bytes)
        return b"".join(ends.written), *figures, b"".join(meter.texts._run)

    reads = [framed(chunk) for chunk in chunks] + [end]
    at_once, progress, pass_on = both()
    rest = pass_on(b"".join(reads))
    one_by_one, same, pass_on = both()
    while reads and not pass_on(reads[0]):
        del reads[0]
    assert rest == b"".join(reads)
    assert figures(at_once, progress) == figures(one_by_one, same)
