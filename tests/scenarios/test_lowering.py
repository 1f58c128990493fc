"""No member of a request lowers what it is estimated at: adding anything anywhere never does."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.prompt import count_prompt_of
from proxy.core.dialects.request_fields import forbid_fields
from proxy.core.errors import ProxyError
from proxy.core.tokens.prompts import count_prompt
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.counter import TokenCounter
from proxy.dataplane.counting.exchange_count import ExchangeCount
from proxy.dataplane.counting.vocabulary import Vocabularies
from tests.support.effort import examples

FIXED = settings(derandomize=True, deadline=None, max_examples=examples(150))
COUNTER = TokenCounter(Vocabularies(Path("none")), Calibration())
PNG = (
    "data:image/png;base64,"
    + base64.b64encode(
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00\x00\x00\x02\x00" + bytes(30)
    ).decode()
)
ODD = [
    ";base64,",
    PNG,
    "data:;base64,",
    "data:image/png;base64,AAAA",
    "input_audio",
    "image_url",
    '"',
    "{",
    "]",
    "\\u0000",
    "好",
    "low",
    "file",
]
TEXTS = (
    st.text(max_size=20)
    | st.sampled_from(ODD)
    | st.lists(st.sampled_from(ODD), max_size=4).map("".join)
)
NAMES = [
    "role",
    "content",
    "type",
    "text",
    "image_url",
    "url",
    "detail",
    "input_audio",
    "data",
    "file",
    "file_data",
    "name",
    "refusal",
    "x",
    "audio",
    "tool_calls",
]


def values(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)


PICTURES = st.fixed_dictionaries(
    {
        "type": st.just("image_url"),
        "image_url": st.fixed_dictionaries(
            {"url": st.sampled_from([PNG, "https://x", "data:image/png;base64,AAAA"])}
        ),
    }
)
PARTS = st.recursive(TEXTS | st.none() | st.booleans() | PICTURES, values, max_leaves=8)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "tool"])},
        optional={"content": st.lists(PARTS, max_size=3) | TEXTS, "name": TEXTS, "x": PARTS},
    ),
    max_size=3,
)


def words(text: str) -> int:
    """A tokenizer that a test can be sure of: more text is never fewer tokens."""
    return len(text)


def estimated(body: object) -> int | None:
    """What a request holds and, uncounted, is charged for its prompt; None if it is refused."""
    text = json.dumps(body).encode()
    try:
        call = read_call("/v1/chat/completions", text)
        forbid_fields(call.steering, ("models", "provider", "route", "plugins"))
    except ProxyError:
        return None
    return ExchangeCount(
        COUNTER, "mock", count_prompt_of, call, (), hidden=False, asked=True, counted=False
    ).prompt(text)


def slots(value: object) -> list[object]:
    """All lists and objects in it, where something can be added."""
    found = [value] if isinstance(value, list | dict) else []
    for inner in (
        value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    ):
        found += slots(inner)
    return found


@FIXED
@given(
    messages=MESSAGES,
    members=st.dictionaries(
        st.sampled_from(["temperature", "user", "x", "documents", "metadata"]), PARTS, max_size=2
    ),
    data=st.data(),
)
def test_nothing_that_is_added_to_a_request_lowers_its_estimate(
    messages: list[object], members: dict[str, object], data: st.DataObject
) -> None:
    body = {"model": "gpt-4o", "messages": messages, **members}
    before, counted = estimated(body), count_prompt(messages, None, "o200k_base", words).tokens
    slot = data.draw(st.sampled_from(slots(body)))
    added = data.draw(PARTS)
    if isinstance(slot, list):
        slot.insert(data.draw(st.integers(0, len(slot))), added)
    elif isinstance(slot, dict):
        free = [
            name
            for name in (
                *NAMES,
                "n",
                "stop",
                "service_tier",
                "max_tokens",
                "max_completion_tokens",
                "prediction",
                "logprobs",
                "tools",
            )
            if name not in slot
        ]
        slot[data.draw(st.sampled_from(free))] = added
    after = estimated(body)
    if before is not None and after is not None:
        assert after >= before
    if not (isinstance(slot, dict) and set(slot) & {"type", "detail"}):
        assert count_prompt(messages, None, "o200k_base", words).tokens >= counted


@FIXED
@given(messages=MESSAGES, text=TEXTS, data=st.data())
def test_no_text_that_is_added_to_a_text_lowers_the_estimate(
    messages: list[object], text: str, data: st.DataObject
) -> None:
    """Wherever it stands in a body, what is not text of the one kind or the other has to be
    proved."""
    whole = json.dumps(
        {"model": "gpt-4o", "messages": [{"role": "user", "content": "a"}, *messages]}
    )
    places = [at for at, sign in enumerate(whole) if sign == "a"]
    at = data.draw(st.sampled_from(places))
    longer = whole[:at] + json.dumps(text)[1:-1] + whole[at:]
    try:
        before, after = estimated(json.loads(whole)), estimated(json.loads(longer))
    except ValueError:
        return  # the text came into a name or an escape
    if before is not None and after is not None:
        assert after >= before
