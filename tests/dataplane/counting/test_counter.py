"""What counting may hold and take, whoever sends what; and what it does for those that nobody waits
for."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import cast

import pytest
import tiktoken

from proxy.core.dialects.contract import Call
from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_chat.prompt import count_prompt_of
from proxy.core.tokens.learned import Learned
from proxy.core.tokens.sampling import PIECE_BYTES
from proxy.dataplane.counting import counter as counter_module
from proxy.dataplane.counting import exchange_count
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.counter import (
    NOTICED_EVERY,
    NOTICED_FIRST,
    SAMPLES_EVERY,
    SAMPLES_FIRST,
    TokenCounter,
)
from proxy.dataplane.counting.exchange_count import ExchangeCount
from proxy.dataplane.counting.in_thread import PROMPT_BRACKETS_MAX
from proxy.dataplane.counting.vocabulary import Vocabularies, Vocabulary
from tests.support.raw import RawClient
from tests.support.running import config, running
from tests.support.waiting import GUARD_S, until


class Thread:
    """A tokenizer that counts letters, and stops at texts that say so until it is `released`."""

    def __init__(self) -> None:
        self.counted: list[str] = []
        self.released = threading.Event()

    def load(self, directory: Traversable, vocabulary: Vocabulary) -> tiktoken.Encoding:
        return cast(tiktoken.Encoding, self)

    def encode_ordinary(self, text: str) -> list[int]:
        if text == "stop":
            assert self.released.wait(GUARD_S)
        self.counted.append(text)
        return [0] * len(text)


@pytest.fixture
async def thread() -> AsyncIterator[Thread]:
    thread = Thread()
    yield thread
    thread.released.set()


@pytest.fixture
async def counter(thread: Thread, tmp_path: Path) -> AsyncIterator[TokenCounter]:
    counter = TokenCounter(Vocabularies(tmp_path, thread.load), Calibration())
    yield counter
    thread.released.set()
    await counter.aclose()


def body(content: str) -> bytes:
    return json.dumps(
        {"model": "gpt-4o", "stream": True, "messages": [{"content": content}]}
    ).encode()


def counting(counter: TokenCounter, content: str) -> ExchangeCount:
    """Of a stream that nobody asks for its usage, its prompt on the way to be counted."""
    request = body(content)
    found = ExchangeCount(
        counter,
        "mock",
        count_prompt_of,
        read_call("/v1/chat/completions", request),
        (),
        hidden=False,
        asked=False,
        counted=True,
    )
    found.prompt(request)
    return found


def answered(text: str = "") -> ChatMeter:
    meter = ChatMeter(stream=True, text_bytes_max=None)
    meter.feed(
        b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\ndata: [DONE]\n\n'
        % text.encode()
    )
    meter.end()
    return meter


async def all_counted(counter: TokenCounter, thread: Thread) -> list[str]:
    """What the thread has counted when it has nothing more to do."""
    for _ in range(3):
        await asyncio.sleep(0)  # until what was called off has left the thread's queue
    thread.released.set()
    await until(lambda: not any(task.get_name() == "count" for task in asyncio.all_tasks()))
    await counter.vocabularies.run("o200k_base", lambda count: count("the last"))
    return [text for text in thread.counted if text not in ("stop", "the last")]


async def test_what_nobody_waits_for_any_more_takes_no_time_from_others(
    counter: TokenCounter, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_count, "WAIT_S", 0.05)
    counting(counter, "stop")
    late = counting(counter, "a prompt that comes too late")
    counted = await late.over(answered("an answer that comes too late"))
    assert counted is not None and not counted.input_exact and not counted.output_exact
    assert counted.output_tokens == -(-len("an answer that comes too late") // 4)
    assert await all_counted(counter, thread) == []


async def test_a_request_that_is_not_sent_is_not_counted(
    counter: TokenCounter, thread: Thread
) -> None:
    counting(counter, "stop")
    counting(counter, "refused by a limit").abandon()
    sent = counting(counter, "sent")
    assert await all_counted(counter, thread) == ["sent"]
    counted = await sent.over(answered("ok"))
    assert counted is not None and (counted.output_tokens, counted.input_exact) == (2, True)


async def test_a_request_that_reaches_no_upstream_leaves_no_count_behind(tmp_path: Path) -> None:
    released = threading.Event()
    async with running(tmp_path, config("http://127.0.0.1:9", estimates="counted")) as server:
        busy = asyncio.create_task(
            server.server.services.counter.vocabularies.run(
                "o200k_base", lambda _: released.wait(GUARD_S)
            )
        )
        client = await RawClient.connect(server.address)
        await client.post(body("Is anybody there?"))
        assert (await client.answer()).status == 502
        await client.aclose()
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task.get_name() == "count"] == []
        released.set()
        await busy


async def test_a_prompt_that_would_take_long_to_decode_is_not(
    counter: TokenCounter, thread: Thread
) -> None:
    """Decoding holds the loop up, whichever thread it is in."""
    prompt = counting(counter, "[" * (PROMPT_BRACKETS_MAX + 1))
    counted = await prompt.over(answered("ok"))
    assert counted is not None and not counted.input_exact
    *pieces, answer = await all_counted(counter, thread)
    assert answer == "ok" and max(map(len, pieces)) <= PIECE_BYTES, "it is read as text, in pieces"
    assert sum(map(len, pieces)) <= counted.input_tokens < PROMPT_BRACKETS_MAX + 200


async def test_what_waits_is_bounded_in_bytes(
    counter: TokenCounter, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_module, "WAITING_BYTES_MAX", 2 * len(body("12345678")))
    counting(counter, "stop")
    first, second, third = (
        counting(counter, text) for text in ("12345678", "abcdefgh", "too many")
    )
    assert counter.crowded
    assert await all_counted(counter, thread) == ["12345678", "abcdefgh"]
    for each, exact in ((first, True), (second, True), (third, False)):
        counted = await each.over(answered("ok"))
        assert counted is not None and counted.input_exact == exact
    assert not counter.crowded, "what was counted makes room"


async def test_what_waits_is_bounded_in_number(
    counter: TokenCounter, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_module, "WAITING_MAX", 2)
    for text in ("stop", "one", "too many"):
        counting(counter, text)
    assert await all_counted(counter, thread) == ["one"]


async def test_an_answer_of_many_tiny_texts_is_one_count(
    counter: TokenCounter, thread: Thread
) -> None:
    counting(counter, "stop")
    meter = ChatMeter(stream=True, text_bytes_max=None)
    for number in range(300):
        meter.feed(b'data: {"choices":[{"index":%d,"delta":{"content":"a"}}]}\n\n' % (number % 100))
    assert meter.texts is not None
    meter.texts.finish()
    assert len(meter.texts.blocks) == 100
    before = len(asyncio.all_tasks())
    own = counting(counter, "many")
    own.take(meter.texts)
    assert len(asyncio.all_tasks()) - before == 2, "its prompt's and this one"
    thread.released.set()
    counted = await own.over(meter)
    assert counted is not None and counted.output_tokens == 300


async def test_answers_are_sampled_until_enough_is_known_and_then_now_and_then(
    counter: TokenCounter,
) -> None:
    await counter.vocabularies.run("o200k_base", lambda count: count(""))
    counter.calibration.needs("o200k_base")
    learned = Learned()
    learned.output.counted_answers = SAMPLES_FIRST
    turns = 2 * SAMPLES_EVERY

    def sampled(*, writes_text: bool = True, media: bool = False) -> int:
        return sum(
            counter.samples(
                learned,
                Call(endpoint="/v1/x", model="m", writes_text=writes_text, media=media),
            )
            for _ in range(turns)
        )

    assert sampled() == turns, "its prompts are not known well yet"
    assert sampled(media=True) == 2, (
        "what images count as is never learned, so there is no end to wait for"
    )
    assert sampled(writes_text=False) == 0
    learned.input.counted_answers = SAMPLES_FIRST
    assert sampled() == 2


async def test_of_a_model_that_is_well_known_one_answer_in_so_many_teaches(tmp_path: Path) -> None:
    counter = TokenCounter(Vocabularies(tmp_path), Calibration())
    learned = Learned()
    learned.output.answers = NOTICED_FIRST - 1
    assert all(counter.takes_notice(learned) for _ in range(3 * NOTICED_EVERY))
    learned.output.answers = NOTICED_FIRST
    noticed = [counter.takes_notice(learned) for _ in range(3 * NOTICED_EVERY)]
    assert noticed.count(True) == 3
    await counter.aclose()
