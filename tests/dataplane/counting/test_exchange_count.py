"""What no upstream states is counted: through the running proxy, against the tokenizer itself."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.core.tokens.text import EXACT_CHARS_MAX
from tests.support.corpora import SENTENCES, count
from tests.support.raw import RawClient, Visit, raw_upstream
from tests.support.running import Running, config, running
from tests.support.waiting import until

DONE = b"data: [DONE]\n\n"
FINISH = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
TEXT = "".join(SENTENCES) * 20
WORDS = re.findall(r"\S+\s*|\s+", TEXT)
Answer = Callable[[Visit], Awaitable[None]]


def ask(model: str = "gpt-4o", content: object = "Say something.", **fields: object) -> bytes:
    return json.dumps(
        {
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": content}],
            **fields,
        }
    ).encode()


def prompt_tokens(content: str) -> int:
    """OpenAI's rule for one message: three, its role and content, and three for the answer."""
    return 3 + count("o200k_base", "user") + count("o200k_base", content) + 3


def event(piece: str, index: int = 0) -> bytes:
    return (
        b"data: "
        + json.dumps(
            {
                "id": "c",
                "model": "served",
                "choices": [{"index": index, "delta": {"content": piece}}],
            }
        ).encode()
        + b"\n\n"
    )


def stated(prompt: int, completion: int) -> bytes:
    return (
        b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d}}\n\n'
        % (prompt, completion)
    )


def silent(*pieces: str) -> Answer:
    async def answer(visit: Visit) -> None:
        await visit.stream(*map(event, pieces), FINISH, DONE)

    return answer


def counting(url: str, **upstream: object) -> dict[str, object]:
    return config(
        url, estimates="counted", upstreams={"mock": {"base_url": url, "api_key": "k", **upstream}}
    )


async def post(proxy: Running, body: bytes, path: str = "/v1/chat/completions") -> None:
    client = await RawClient.connect(proxy.address)
    await client.post(body, path=path)
    await client.answer()
    await client.aclose()


def counts(row: dict[str, object]) -> tuple[object, ...]:
    return row["input_tokens"], row["output_tokens"], row["input_source"], row["output_source"]


@pytest.mark.parametrize(
    "pieces",
    [["Hi"], ["Hello", " world", "!\n\n", "好的。"], WORDS[:400], [TEXT], []],
    ids=["short", "mixed", "long", "one event", "empty"],
)
async def test_a_stream_that_states_nothing_is_counted_with_its_family_s_vocabulary(
    tmp_path: Path, pieces: list[str]
) -> None:
    async with (
        raw_upstream(silent(*pieces)) as upstream,
        running(tmp_path, counting(upstream.url)) as proxy,
    ):
        await post(proxy, ask())
        [row] = await proxy.records(1)
        assert counts(row) == (
            prompt_tokens("Say something."),
            count("o200k_base", "".join(pieces)),
            "counted",
            "counted",
        )
        assert (row["outcome"], row["source"]) == ("completed", "counted")


@pytest.mark.parametrize(
    ("model", "content", "hidden", "sources"),
    [
        ("gpt-4", "hi", [], ("counted", "counted")),
        ("qwen3-max", "hi", [], ("estimated", "estimated")),  # no vocabulary of its own here
        ("o3-mini", "hi", [], ("estimated", "estimated")),  # it thinks unseen
        ("gpt-4o", "hi", ["gpt-4*"], ("estimated", "estimated")),  # so the operator says
        ("gpt-4o", [{"type": "text", "text": "hi"}], [], ("counted", "counted")),
        ("gpt-4o", [{"type": "input_audio", "input_audio": {}}], [], ("estimated", "counted")),
    ],
)
async def test_only_a_known_family_is_called_counted(
    tmp_path: Path, model: str, content: object, hidden: list[str], sources: tuple[str, str]
) -> None:
    async with (
        raw_upstream(silent("Hi there.")) as upstream,
        running(tmp_path, counting(upstream.url, hidden_reasoning=hidden)) as proxy,
    ):
        await post(proxy, ask(model, content))
        [row] = await proxy.records(1)
        assert counts(row)[2:] == sources
        assert row["output_tokens"] == count(
            "cl100k_base" if model == "gpt-4" else "o200k_base", "Hi there."
        )


@pytest.mark.parametrize(
    "caps",
    [
        {"max_tokens": 1},
        {"max_completion_tokens": 0},
        {"max_completion_tokens": 1, "max_tokens": 2},
    ],
    ids=str,
)
async def test_a_cap_that_the_upstream_ignores_lowers_no_charge(
    tmp_path: Path, caps: dict[str, int]
) -> None:
    async with (
        raw_upstream(silent(*WORDS[:60])) as upstream,
        running(tmp_path, counting(upstream.url)) as proxy,
    ):
        await post(proxy, ask("qwen3-max"))
        await post(proxy, ask("qwen3-max", **caps))
        plain, capped = await proxy.records(2)
        assert (
            capped["output_tokens"]
            == plain["output_tokens"]
            == count("o200k_base", "".join(WORDS[:60]))
        )


async def test_cheap_text_at_the_beginning_does_not_stand_for_what_is_behind_it(
    tmp_path: Path,
) -> None:
    """Of a long prompt windows are counted, all over it."""
    async with (
        raw_upstream(silent("ok")) as upstream,
        running(tmp_path, counting(upstream.url)) as proxy,
    ):
        await post(proxy, ask(content=" " * EXACT_CHARS_MAX + TEXT * 40))
        [row] = await proxy.records(1)
        assert int(str(row["input_tokens"])) > count("o200k_base", TEXT) * 40


async def test_a_prompt_in_a_member_that_no_rule_names_is_charged(tmp_path: Path) -> None:
    """Documents, a template of one's own, an older model's members: some server shows them to its
    model."""
    async with (
        raw_upstream(silent("ok")) as upstream,
        running(tmp_path, counting(upstream.url)) as proxy,
    ):
        await post(proxy, ask())
        await post(proxy, ask(documents=[{"text": TEXT}]))
        await post(
            proxy,
            ask(
                temperature=0.2, user="u-17", stop=["a", "b"], seed=1, metadata={"feature": "chat"}
            ),
        )
        plain, hidden, usual = await proxy.records(3)
        assert int(str(hidden["input_tokens"])) - int(str(plain["input_tokens"])) >= len(TEXT) // 4
        assert (hidden["input_source"], counts(usual)) == ("estimated", counts(plain))


async def test_json_without_usage_is_counted_and_its_prompt_is_estimated(tmp_path: Path) -> None:
    """JSON nearly always states its usage, so its prompt is not counted in advance."""

    async def answer(visit: Visit) -> None:
        await visit.answer(
            json.dumps(
                {
                    "choices": [
                        {"message": {"role": "assistant", "content": text}}
                        for text in ("Hello there.", "好的。")
                    ]
                }
            ).encode()
        )

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        body = ask(stream=False)
        await post(proxy, body)
        [row] = await proxy.records(1)
        assert counts(row) == (
            -(-len(body) // 4),
            count("o200k_base", "Hello there.") + count("o200k_base", "好的。"),
            "estimated",
            "counted",
        )


async def test_a_completion_s_prompt_is_counted_too(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(b'data: {"choices":[{"index":0,"text":" once upon"}]}\n\n', DONE)

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(
            proxy,
            json.dumps({"model": "davinci-002", "prompt": ["Tell", "me"], "stream": True}).encode(),
            "/v1/completions",
        )
        [row] = await proxy.records(1)
        assert counts(row) == (2, count("cl100k_base", " once upon"), "counted", "counted")


@pytest.mark.parametrize("position", [1, 2, 7, 60, 199])
async def test_a_client_that_leaves_is_charged_for_the_count_of_what_it_got(
    tmp_path: Path, position: int
) -> None:
    """The upstream has sent no more than the client has read, so the count is exact; the source
    says that the answer broke off."""
    gone = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await visit.stream(*map(event, WORDS[:position]), end=False)
        await gone.wait()

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.post(ask())
        await client.head()
        read = b""
        while not read.endswith(event(WORDS[position - 1])):
            read += await client.chunk()
        await client.aclose()
        [row] = await proxy.records(1)
        gone.set()
        assert row["output_tokens"] == count("o200k_base", "".join(WORDS[:position]))
        assert (row["outcome"], row["input_source"], row["output_source"]) == (
            "client_closed",
            "counted",
            "partial",
        )


async def test_a_stream_cut_by_its_upstream_is_charged_for_the_count_of_what_came(
    tmp_path: Path,
) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(*map(event, WORDS[:50]), end=False)
        visit.reset()

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(proxy, ask())
        [row] = await proxy.records(1)
        assert counts(row) == (
            prompt_tokens("Say something."),
            count("o200k_base", "".join(WORDS[:50])),
            "counted",
            "partial",
        )


async def test_a_stream_expected_to_state_its_usage_is_estimated_from_its_beginning_if_it_breaks_off(
    tmp_path: Path,
) -> None:
    pieces = ["The quick brown fox. "] * 2_000  # ten times what is kept of it

    async def answer(visit: Visit) -> None:
        await visit.stream(*map(event, pieces), end=False)
        visit.reset()

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(proxy, ask(stream_options={"include_usage": True}))
        [row] = await proxy.records(1)
        exact = count("o200k_base", "".join(pieces))
        assert abs(int(str(row["output_tokens"])) - exact) <= exact // 100
        assert (row["input_source"], row["output_source"]) == ("estimated", "partial")


async def test_vendors_that_state_their_usage_teach_what_the_others_use(tmp_path: Path) -> None:
    """This model counts 3 tokens for 2 of ours, and thinks unseen. After it has said so a few dozen
    times, its silent answers are charged accordingly."""
    turn = 0
    texts = ["".join(WORDS[start : start + 40]) for start in range(0, 1200, 40)]

    async def answer(visit: Visit) -> None:
        nonlocal turn
        text = texts[turn % len(texts)]
        turn += 1
        asked = b"include_usage" in visit.body
        usage = (
            [stated(2 * prompt_tokens("Say something."), count("o200k_base", text) * 3 // 2)]
            if asked
            else []
        )
        await visit.stream(event(text), FINISH, *usage, DONE)

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(
            proxy, ask("qwen")
        )  # one silent stream: from here on a vocabulary is there, and answers are counted to learn from
        await proxy.records(1)
        for number in range(60):
            await post(proxy, ask("qwen", stream_options={"include_usage": True}))
            await proxy.records(2 + number)
        turn = 0
        for _ in texts:
            await post(proxy, ask("qwen"))
        rows = (await proxy.records(61 + len(texts)))[61:]
        expected = sum(count("o200k_base", text) * 3 // 2 for text in texts)
        charged = sum(int(str(row["output_tokens"])) for row in rows)
        assert abs(charged - expected) <= expected // 40
        assert all(
            abs(int(str(row["input_tokens"])) - 2 * prompt_tokens("Say something.")) <= 1
            for row in rows
        )
        assert {row["source"] for row in rows} == {"estimated"}
        error = proxy.server.services.counter.calibration.errors()["qwen"]
        assert -0.4 < error < 0
        assert (
            b'tollkeeper_estimate_error_ratio{model="qwen"} -0.'
            in proxy.server.services.metrics.render()
        )


async def test_a_known_family_whose_answers_state_otherwise_is_not_called_counted_any_more(
    tmp_path: Path,
) -> None:
    async def answer(visit: Visit) -> None:
        asked = b"include_usage" in visit.body
        await visit.stream(
            event("Hello there."),
            FINISH,
            *([stated(prompt_tokens("Say something."), 60)] if asked else []),
            DONE,
        )

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(proxy, ask())
        for number in range(40):
            await proxy.records(1 + number)
            await post(proxy, ask(stream_options={"include_usage": True}))
        await proxy.records(41)
        await post(proxy, ask())
        rows = await proxy.records(42)
        assert counts(rows[0])[3] == "counted"
        assert counts(rows[-1])[2:] == ("counted", "estimated")
        assert 45 <= int(str(rows[-1]["output_tokens"])) <= 60


async def test_what_was_learned_and_loaded_is_there_after_a_restart(tmp_path: Path) -> None:
    async with raw_upstream(silent("Hi")) as upstream:
        async with running(tmp_path, counting(upstream.url)) as proxy:
            assert proxy.server.services.counter.calibration.vocabularies == []
            await post(proxy, ask())
            await proxy.records(1)
            proxy.server.services.counter.calibration.learning("m").output.learn(500, 100, None)
        async with running(tmp_path, counting(upstream.url)) as proxy:
            counter = proxy.server.services.counter
            assert counter.vocabularies.ready("o200k_base"), "loaded before anyone asks"
            assert counter.calibration.of("m").output.per_byte.tokens == 500


async def test_without_counting_nothing_is_loaded_or_learned(tmp_path: Path) -> None:
    async with (
        raw_upstream(silent(*WORDS[:30])) as upstream,
        running(tmp_path, config(upstream.url)) as proxy,
    ):
        body = ask()
        await post(proxy, body)
        [row] = await proxy.records(1)
        assert counts(row) == (
            -(-len(body) // 4),
            -(-len("".join(WORDS[:30]).encode()) // 4),
            "estimated",
            "estimated",
        )
        counter = proxy.server.services.counter
        assert counter.calibration.models == {} and counter.calibration.vocabularies == []


async def test_what_could_not_be_read_is_estimated_from_its_bytes(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(event("Hello"), b"data: " + b"x" * 4000 + b"\n\n", event(" there"), DONE)

    blocks = counting("")
    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, counting(upstream.url) | {"bodies": {"event_max": "1KiB"}}) as proxy,
    ):
        assert blocks["estimates"] == "counted"
        await post(proxy, ask())
        [row] = await proxy.records(1)
        assert 1000 <= int(str(row["output_tokens"])) <= 1010
        assert (row["output_source"], row["inconsistent"]) == ("estimated", 1)


async def test_a_hostile_answer_is_counted_without_harm(tmp_path: Path) -> None:
    """A million spaces in one call would end the tokenizer with a panic; special tokens in text are
    text."""
    pieces = [" " * 100_000] * 10 + ["<|endoftext|>", "\ud83d"]

    async with (
        raw_upstream(silent(*pieces)) as upstream,
        running(tmp_path, counting(upstream.url)) as proxy,
    ):
        await post(proxy, ask())
        [row] = await proxy.records(1)
        assert row["output_source"] == "estimated", (
            "beyond 400,000 characters it is extrapolated, and says so"
        )
        assert 5_000 <= int(str(row["output_tokens"])) <= 20_000


async def test_a_vendor_that_states_its_usage_unasked_is_not_counted_again(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        await visit.stream(event("Hi"), FINISH, stated(5, 2), DONE)

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(proxy, ask())
        await proxy.records(1)
        assert proxy.server.services.counter.calibration.states("mock", "gpt-4o", False)
        await post(proxy, ask())
        rows = await proxy.records(2)
        assert [counts(row) for row in rows] == [(5, 2, "reported", "reported")] * 2


async def test_vectors_are_no_text_whatever_their_size(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        whole = json.dumps(
            {
                "object": "list",
                "data": [{"embedding": [0.125] * 5_000}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        ).encode()
        if b"Break" in visit.body:
            await visit.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % len(whole),
                whole[:30_000],
            )
            visit.reset()
        else:
            await visit.answer(whole)

    def embed(text: str) -> bytes:
        return json.dumps({"model": "text-embedding-3-small", "input": text}).encode()

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await proxy.server.services.counter.vocabularies.run("o200k_base", lambda count: count(""))
        proxy.server.services.counter.calibration.needs("o200k_base")
        await post(proxy, embed("Break off"), "/v1/embeddings")
        await post(proxy, embed("Fine"), "/v1/embeddings")
        rows = await proxy.records(2)
        assert [row["output_tokens"] for row in rows] == [0, 0]
        assert rows[1]["source"] == "reported"


async def test_a_client_that_leaves_before_the_statement_says_nothing_about_the_vendor(
    tmp_path: Path,
) -> None:
    gone = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await visit.stream(event("Hi"), FINISH, end=False)
        await gone.wait()

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        client = await RawClient.connect(proxy.address)
        await client.post(ask(stream_options={"include_usage": True}))
        await client.head()
        read = b""
        while not read.endswith(FINISH):
            read += await client.chunk()
        await client.aclose()
        [row] = await proxy.records(1)
        gone.set()
        assert row["outcome"] == "client_closed"
        assert proxy.server.services.counter.calibration.states("mock", "gpt-4o", True)


async def test_what_a_vendor_answers_who_refuses_the_question_is_counted(tmp_path: Path) -> None:
    async def answer(visit: Visit) -> None:
        if b"include_usage" in visit.body:
            await visit.answer(
                b'{"error":{"message":"unknown field stream_options"}}', status="400 Bad Request"
            )
        else:
            await visit.stream(*map(event, WORDS[:3_000]), FINISH, DONE)

    async with (
        raw_upstream(answer) as upstream,
        running(tmp_path, counting(upstream.url, stream_usage="inject")) as proxy,
    ):
        await post(proxy, ask())
        [row] = await proxy.records(1)
        assert (row["output_tokens"], row["output_source"]) == (
            count("o200k_base", "".join(WORDS[:3_000])),
            "counted",
        )
        assert proxy.server.services.counter.calibration.states("mock", "gpt-4o", True), (
            "the stream that states nothing was not asked"
        )


async def test_without_counting_what_was_needed_before_is_not_loaded(tmp_path: Path) -> None:
    async with raw_upstream(silent("Hi")) as upstream:
        async with running(tmp_path, counting(upstream.url)) as proxy:
            await post(proxy, ask())
            await proxy.records(1)
        async with running(tmp_path, counting(upstream.url) | {"estimates": "bytes"}) as proxy:
            assert not proxy.server.services.counter.vocabularies.ready("o200k_base")


async def test_an_answer_that_may_hold_its_prompt_is_no_exact_count_and_teaches_nothing(
    tmp_path: Path,
) -> None:
    async def answer(visit: Visit) -> None:
        asked = b"include_usage" in visit.body
        text = (
            b"data: "
            + json.dumps(
                {"id": "c", "choices": [{"index": 0, "text": f"{TEXT} The end."}]}
            ).encode()
            + b"\n\n"
        )
        await visit.stream(text, *([stated(count("cl100k_base", TEXT), 3)] if asked else []), DONE)

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        fields = {"model": "davinci-002", "prompt": TEXT, "echo": True, "stream": True}
        await post(proxy, json.dumps(fields).encode(), "/v1/completions")
        await proxy.records(1)
        await post(
            proxy,
            json.dumps(fields | {"stream_options": {"include_usage": True}}).encode(),
            "/v1/completions",
        )
        rows = await proxy.records(2)
        assert [counts(row)[2:] for row in rows] == [
            ("counted", "estimated"),
            ("reported", "reported"),
        ]
        calibration = proxy.server.services.counter.calibration
        # A count that is made to learn from may end behind the record.
        await until(lambda: calibration.of("davinci-002").input.answers == 1)
        assert calibration.of("davinci-002").output.answers == 0, (
            "or the next answer's text would seem to cost next to nothing"
        )


async def test_an_answer_that_came_twice_is_counted_once_flagged_and_teaches_nothing(
    tmp_path: Path,
) -> None:
    """Some servers send the whole answer once more at its end; a model may have written it twice
    all the same."""
    pieces = WORDS[:60]

    async def answer(visit: Visit) -> None:
        asked = b"include_usage" in visit.body
        await visit.stream(
            *map(event, pieces),
            event("".join(pieces)),
            FINISH,
            *([stated(9, 60)] if asked else []),
            DONE,
        )

    async with raw_upstream(answer) as upstream, running(tmp_path, counting(upstream.url)) as proxy:
        await post(proxy, ask())
        await proxy.records(1)
        await post(proxy, ask(stream_options={"include_usage": True}))
        rows = await proxy.records(2)
        assert [row["inconsistent"] for row in rows] == [True, False]
        assert rows[0]["output_tokens"] == count("o200k_base", "".join(pieces))
        assert proxy.server.services.counter.calibration.of("gpt-4o").output.answers == 0
