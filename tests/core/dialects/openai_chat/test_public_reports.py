"""Answers as users of other clients and gateways have reported them, in our own words: what is
booked for each.

The prompt's estimate is 100 in every row, and text counts a token for four bytes.
"""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.entries import Opened
from proxy.core.pricing.amounts import NoPrices
from proxy.core.records.ending import Ending, How
from proxy.core.records.settlement import settle
from proxy.core.usage import UsageRecord

TEXT = "word " * 24  # 30 tokens by the measure
SAID = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "find", "arguments": TEXT}}


def delta(finish: str | None = None, **more: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": more, "finish_reason": finish}]}


def usage(prompt: int | None, completion: int | None, total: int | None = None, **more: object):
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    return {"usage": {name: count for name, count in counts.items() if count is not None} | more}


WORDS = [delta(content=word) for word in (TEXT[:60], TEXT[60:])]
LAST = delta("stop")
DONE = "[DONE]"
NO_CHOICE: dict[str, object] = {"choices": []}

# Report, JSON or events -> input, cached, output, reasoning, source, inconsistent.
REPORTS = [
    (
        "Portkey-AI/gateway 858: the output alone",
        {"choices": [SAID]} | usage(None, 25),
        (100, None, 25, None, "estimated", False),
    ),
    (
        "theopenco/llmgateway 2861: details without the counts that they are of",
        {"choices": [SAID], "usage": {"prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 5}}},
        (100, None, 30, None, "estimated", False),
    ),
    (
        "router-for-me/CLIProxyAPI 5733: no output beside reasoning that the total holds",
        {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]} | usage(21, 0, 81, completion_tokens_details={"reasoning_tokens": 60}),
        (21, None, 60, 60, "reported", False),
    ),
    (
        "vllm-project/vllm 12394: TGI's usage beside the last choice",
        [*WORDS, delta("eos_token", content="") | usage(38, 29, 67)],
        (38, None, 29, None, "reported", False),
    ),
    (
        "mudler/LocalAI 9927: zeros for a stream with tools",
        [delta(tool_calls=[CALL]), delta("tool_calls"), NO_CHOICE | usage(0, 0, 0), DONE],
        (100, None, 31, None, "estimated", False),
    ),
    (
        "diegosouzapw/OmniRoute 4615: Ollama Cloud counts no prompt",
        [*WORDS, LAST, NO_CHOICE | usage(0, 29, 29), DONE],
        (100, None, 29, None, "estimated", False),
    ),
    (
        "earendil-works/pi 2326: mlx-vlm's names, and speeds beside them",
        [*WORDS, LAST, {"usage": {"input_tokens": 11, "output_tokens": 29, "total_tokens": 40, "prompt_tps": 21.55, "generation_tps": 81.56}}, DONE],
        (11, None, 29, None, "reported", False),
    ),
    (
        "can1357/oh-my-pi 5022: what was cached stands in the second of two",
        [*WORDS, LAST | usage(35227, 29), NO_CHOICE | usage(35227, 29, 35256, prompt_tokens_details={"cached_tokens": 32512}), DONE],
        (35227, 32512, 29, None, "reported", False),
    ),
    (
        "lmstudio-ai/lmstudio-bug-tracker 1546: zeros for embeddings",
        {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]} | usage(0, None, 0),
        (100, None, 0, None, "estimated", False),
    ),
    (
        "vercel/ai 2763: the prompt alone until the end",
        [each | usage(11, None, 11) for each in WORDS] + [LAST, NO_CHOICE | usage(11, 29, 40), DONE],
        (11, None, 29, None, "reported", False),
    ),
    (
        "langchain-ai/langchain 20180: each event's own output, the prompt once",
        [WORDS[0] | usage(8, 1, 9), WORDS[1] | usage(0, 1, 1), LAST | usage(0, 1, 1), DONE],
        (8, None, 30, None, "estimated", True),
    ),
    (
        "tenstorrent/tt-inference-server 632: a running total on each completion's event",
        [{"choices": [{"index": 0, "text": TEXT[:60], "finish_reason": None}]} | usage(5, 14, 19), {"choices": [{"index": 0, "text": TEXT[60:], "finish_reason": "length"}]} | usage(5, 29, 34), DONE],
        (5, None, 29, None, "reported", False),
    ),
    (
        "mozilla-ai/any-llm 1290: thoughts in the total alone",
        {"choices": [SAID]} | usage(20, 198, 623),
        (20, None, 603, None, "reported", True),
    ),
    (
        "bgeneto/open-webui-cost-tracker 6: more reasoning than output",
        {"choices": [SAID]} | usage(108, 3256, 3364, citation_tokens=7299, num_search_queries=74, reasoning_tokens=73248),
        (108, None, 76504, 73248, "reported", True),
    ),
    (
        "Continuum-AI-Corp/OrcaRouter-Lite 127: the usage behind [DONE]",
        [*WORDS, LAST, DONE, NO_CHOICE | usage(9, 29, 38)],
        (9, None, 29, None, "reported", False),
    ),
    (
        "odysseus-dev/odysseus 1703: the usage beside a role and a content of null",
        [*WORDS, delta("stop", role="assistant", content=None) | usage(9, 29, 38), DONE],
        (9, None, 29, None, "reported", False),
    ),
]  # fmt: skip


def booked(answer: object) -> UsageRecord:
    stream = isinstance(answer, list)
    meter = ChatMeter(stream=stream)
    for event in answer if isinstance(answer, list) else [answer]:
        text = event if isinstance(event, str) else json.dumps(event)
        meter.feed(f"data: {text}\n\n".encode() if stream else text.encode())
    meter.end()
    opened = Opened(
        id="id", started_at_ms=1, key_id="k", endpoint="/v1/chat/completions", upstream="up",
        model_requested="m", stream=stream, input_estimate=100, bytes_in=1,
    )  # fmt: skip
    ending = Ending(
        how=How.ANSWERED, status=200, usage=meter.usage, usage_current=meter.usage_current, usage_final=meter.usage_final,
        answered=meter.answered, output_measure=meter.output_measure, done=meter.complete, finish_reason=meter.finish_reason,
    )  # fmt: skip
    return settle(opened, ending, "w0", NoPrices())


@pytest.mark.parametrize(
    ("answer", "expected"), [row[1:] for row in REPORTS], ids=[row[0] for row in REPORTS]
)
def test_what_others_have_met_is_booked_right(answer: object, expected: tuple[object, ...]) -> None:
    record = booked(answer)
    assert (
        record.input_tokens,
        record.cached_tokens,
        record.output_tokens,
        record.reasoning_tokens,
        str(record.source),
        record.inconsistent,
    ) == expected
