"""Which answers teach something, and what is too large to be counted exactly: through the running
proxy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.dataplane.counting.test_exchange_count import (
    DONE,
    FINISH,
    TEXT,
    WORDS,
    ask,
    counting,
    counts,
    event,
    post,
)
from tests.support.corpora import count
from tests.support.raw import Visit, raw_upstream
from tests.support.running import running

IMAGE = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
]


@pytest.mark.parametrize(
    ("content", "text", "usage", "status", "learned", "counted"),
    [
        ("Say something.", "Hello there.", {}, "200 OK", (1, 1), (1, 1)),
        # pictures are no text
        (IMAGE, "A cat.", {}, "200 OK", (0, 1), (0, 1)),
        # who contradicts himself teaches nothing
        ("Say something.", "Hello there.", {"total_tokens": 7}, "200 OK", (0, 0), (0, 0)),
        ("Say something.", "Hello there.", {"completion_tokens_details": {"audio_tokens": 2}}, "200 OK", (1, 0), (1, 0)),
        ("Say something.", "Hello there.", {}, "500 Internal Server Error", (0, 0), (0, 0)),
        # too long to count for learning's sake
        ("Say something.", TEXT * 40, {"completion_tokens": len(TEXT) * 10}, "200 OK", (1, 1), (0, 0)),
    ],
    ids=["text", "image", "inconsistent", "sound", "failed", "long"],
)  # fmt: skip
async def test_what_teaches(
    tmp_path: Path,
    content: object,
    text: str,
    usage: dict[str, object],
    status: str,
    learned: tuple[int, int],
    counted: tuple[int, int],
) -> None:
    async def answer(visit: Visit) -> None:
        stated = (
            b'data: {"id":"c","choices":[],"usage":%s}\n\n'
            % json.dumps({"prompt_tokens": 9, "completion_tokens": 5, **usage}).encode()
        )
        if status == "200 OK":
            await visit.stream(
                *(event(text[start : start + 30_000]) for start in range(0, len(text), 30_000)),
                FINISH,
                stated,
                DONE,
            )
        else:
            await visit.answer(
                b'{"choices":[{"text":"Hello"}],"usage":{"prompt_tokens":9,"completion_tokens":5}}',
                status=status,
            )

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        counter = proxy.server.services.counter
        await counter.vocabularies.run("o200k_base", lambda count: count(""))
        counter.calibration.needs("o200k_base")
        await post(proxy, ask(content=content, stream_options={"include_usage": True}))
        await proxy.records(1)
        while any(task.get_name() == "count" for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        found = counter.calibration.of("gpt-4o")
        assert (found.input.answers, found.output.answers) == learned
        assert (found.input.counted_answers, found.output.counted_answers) == counted


@pytest.mark.parametrize("characters", [100_000, 500_000, 1_100_000])
async def test_a_long_prompt_is_an_estimate(tmp_path: Path, characters: int) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(event("Hi"), DONE)

    text = "a b " * (characters // 4)
    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(proxy, ask(content=text))
        [row] = await proxy.records(1)
        assert abs(int(str(row["input_tokens"])) - characters // 2) <= characters // 400
        assert row["input_source"] == ("counted" if characters < 400_000 else "estimated")


async def test_a_running_total_that_text_has_outgrown_is_not_all_there_was(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        total = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"One"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}\n\n'
        await visit.stream(total, *map(event, WORDS[:200]), end=False)
        visit.reset()

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(proxy, ask())
        [row] = await proxy.records(1)
        assert counts(row) == (
            9,
            count("o200k_base", "One" + "".join(WORDS[:200])),
            "reported",
            "partial",
        )


async def test_what_one_tenant_has_padded_lowers_nobody_s_counts_far(tmp_path: Path) -> None:
    """Forty answers to requests that were full of nothing made everybody's prompts and answers four
    times cheaper."""

    async def answer(visit: Visit) -> None:
        await visit.stream(event("word " * 400), FINISH, DONE)

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        calibration = proxy.server.services.counter.calibration
        for _ in range(40):
            learned = calibration.learning("unheard-of")
            learned.input.learn(10, 4000, (40, 4000))
            learned.output.learn(10, 4000, (40, 4000))
            assert calibration.teaches("unheard-of", "research")
        await post(proxy, ask(content="word " * 1000, model="unheard-of"))
        [row] = await proxy.records(1)
        assert int(str(row["input_tokens"])) >= 750
        assert int(str(row["output_tokens"])) >= 300
