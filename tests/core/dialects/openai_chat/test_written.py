"""What a model wrote is read by structure: each text once, under the key of its choice and field,
and nothing that was only found or reported."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.written import TooMuch, finish_of, read_choices, texts_of
from tests.support.effort import examples

FIXED = settings(derandomize=True, deadline=None, max_examples=examples(200))
TEXT = st.text(max_size=12) | st.sampled_from(
    [
        '"content":"x"',
        '","text":"',
        "\\",
        '\\"',
        "好 😀",
        '{"usage":{"a":1}}',
        "\u2028",
        "\x7f\x00\n",
    ]
)
DUMPS = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]),
    }
)


def written(choices: object, **options: object) -> list[str]:
    """The texts, in the order in which they stand in the choices."""
    read = read_choices(msgspec.Raw(json.dumps(choices, **options).encode()))  # type: ignore[arg-type]
    return [text.decode() for _, _, text in texts_of(read)]


def delta(**members: object) -> list[object]:
    return [{"index": 0, "delta": {"role": "assistant", **members}, "finish_reason": None}]


THOUGHT = {
    "type": "thinking",
    "thinking": [{"type": "text", "text": "th"}, {"type": "text", "text": "ink"}],
    "closed": True,
}
SAY = {"type": "text", "text": "say"}


@pytest.mark.parametrize(
    ("choices", "texts"),
    [
        (delta(content="hé"), ["hé"]),
        ([{"delta": {"content": "a"}}, {"delta": {"content": "bc"}, "finish_reason": "stop"}], ["a", "bc"]),
        (delta(content=None, refusal="no"), ["no"]),
        (delta(reasoning_content="think", content="say"), ["say", "think"]),
        (delta(content="", reasoning="think"), ["think"]),
        ([{"text": " plain", "logprobs": {"tokens": [" plain"], "text_offset": [0]}, "finish_reason": "length"}], [" plain"]),
        ([{"message": {"role": "assistant", "content": "hi"}, "logprobs": {"content": [{"token": "hi", "bytes": [1]}], "refusal": None}}], ["hi"]),
        # Calls.
        (delta(tool_calls=[{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]), ["f", '{"a": 1}']),
        (delta(function_call={"name": "f", "arguments": "{}"}), ["f", "{}"]),
        (delta(tool_calls=[{"type": "custom", "custom": {"name": "g", "input": "abc"}}]), ["g", "abc"]),
        (delta(tool_calls=[{"function": {"name": "f", "arguments": {"a": "b"}}}]), ["f", '{"a": "b"}']),
        (delta(tool_calls={"index": 0, "function": {"name": "f"}}), ["f"]),
        (delta(tool_calls=[None, {"function": None}, "x"]), []),
        # Thoughts, under one name or several.
        (delta(reasoning="think", reasoning_content="think", content="say"), ["say", "think"]),
        (delta(reasoning="think", reasoning_details=[{"type": "reasoning.text", "text": "think", "index": 0, "format": "f"}]), ["think"]),
        (delta(reasoning=None, reasoning_details=[{"type": "reasoning.summary", "summary": "think"}, {"type": "reasoning.encrypted", "data": "aGk="}]), ["think"]),
        (delta(reasoning_content="think", thinking_blocks=[{"type": "thinking", "thinking": "think", "signature": "c2ln"}]), ["think"]),
        (delta(thinking="think"), ["think"]),
        (delta(reasoning_text="think", reasoning_opaque="aGk="), ["think"]),
        (delta(reasoning_content={"text": "think"}), ["think"]),
        (delta(content=[THOUGHT, SAY]), ["say", "think"]),
        (delta(content=[THOUGHT]), ["think"]),
        (delta(content=[{"type": "reasoning", "text": "think"}, SAY]), ["say", "think"]),
        # A content in parts.
        (delta(content=[SAY, {"type": "text", "text": " more"}]), ["say more"]),
        (delta(content=["say", {"text": " more"}]), ["say more"]),
        (delta(content={"type": "text", "text": "say"}), ["say"]),
        (delta(content=[SAY, {"type": "reference", "reference_ids": [1], "text": "found"}, {"type": "image_url", "image_url": {"url": "data:"}}]), ["say"]),
        ([{"message": {"audio": {"id": "a", "transcript": "hear", "data": "UklGRg=="}}}], ["hear"]),
        # The same text in several members of a choice.
        ([{"delta": {"content": "new"}, "message": {"content": "old new"}}], ["new"]),
        ([{"delta": {"content": "new", "role": "assistant"}, "text": "new"}], ["new"]),
        ([{"delta": {"content": ""}, "message": {"content": "all"}}], ["all"]),
        ([{"delta": None, "text": "", "message": {"content": "all"}}], ["all"]),
        ([{"message": "all"}], ["all"]),
        # What was found or reported.
        (delta(content="say", annotations=[{"type": "url_citation", "url_citation": {"title": "t", "content": "page"}}]), ["say"]),
        (delta(content="say", context={"citations": [{"content": "page", "title": "t"}], "intent": "i"}), ["say"]),
        ([{"delta": {"content": "say"}, "content_filter_results": {"error": {"text": "x"}}, "sources": [{"text": "page"}], "name": "n"}], ["say"]),
        (delta(content="say", executed_tools=[{"name": "search", "arguments": "{}", "output": "page"}], tool_results=[{"content": "page"}]), ["say"]),
        (delta(content="say", images=[{"image_url": {"url": "data:image/png;base64,aGk="}}], search_results=[{"text": "page"}]), ["say"]),
        # Odd choices.
        ([], []), (None, []), ([None], []), ([{}], []), ("text", []), ([[], 1, "x", {"delta": {"content": "a"}}], ["a"]), ({"delta": {"content": "a"}}, ["a"]),
        ([{"index": "x", "delta": {"content": 1, "refusal": {}, "tool_calls": "x", "audio": "y"}}], []),
    ],
)  # fmt: skip
def test_everything_a_model_writes_counts_once(choices: object, texts: list[str]) -> None:
    for options in ({"ensure_ascii": False}, {"ensure_ascii": True}, {"indent": 2}):
        assert written(choices, **options) == texts


@FIXED
@given(
    st.lists(
        st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("content", "reasoning_content", "refusal"), TEXT)
        ),
        max_size=3,
    ),
    st.lists(st.tuples(TEXT, TEXT), max_size=2),
    DUMPS,
)
def test_any_text_is_read_as_it_is(
    deltas: list[dict[str, str]], calls: list[tuple[str, str]], options: dict[str, object]
) -> None:
    choices: list[object] = [{"delta": delta} for delta in deltas]
    choices.append(
        {
            "delta": {
                "tool_calls": [
                    {"function": {"name": name, "arguments": arguments}}
                    for name, arguments in calls
                ]
            }
        }
    )
    expected = [text for delta in deltas for text in delta.values() if text] + [
        text for call in calls for text in call if text
    ]
    assert sorted(written(choices, **options)) == sorted(expected)


def test_texts_have_the_keys_of_their_choice_and_call() -> None:
    choices = [
        {"index": 2, "delta": {"content": "a", "reasoning": "b"}},
        {
            "delta": {
                "tool_calls": [
                    {"index": 5, "function": {"arguments": "c"}},
                    {"function": {"arguments": "d"}},
                ]
            }
        },
    ]
    read = read_choices(msgspec.Raw(json.dumps(choices).encode()))
    assert texts_of(read) == [
        ((2, "content"), 0, b"a"),
        ((2, "reasoning"), 0, b"b"),
        ((1, "tool", 5, "arguments"), 0, b"c"),
        ((1, "tool", 1, "arguments"), 0, b"d"),
    ]


@pytest.mark.parametrize(
    ("choices", "finish"),
    [
        ([{"finish_reason": "stop"}], "stop"), ([{"finish_reason": ""}], None), ([{"finish_reason": None}], None), ([{}], None), ([], None), ([{"finish_reason": 1}], None),
        ([{"finish_reason": "length"}, {"finish_reason": ""}], "length"), ([{"finish_reason": {"type": "stop"}}], "stop"), ([{"delta": {"finish_reason": "stop"}}], None),
    ],
)  # fmt: skip
def test_the_last_finish_reason_counts(choices: object, finish: str | None) -> None:
    assert finish_of(read_choices(msgspec.Raw(json.dumps(choices).encode()))) == finish


MANY = [{} for _ in range(2049)]
BRACKETS = [[[] for _ in range(200)] for _ in range(200)]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "choices",
    [
        MANY,
        delta(tool_calls=MANY),
        delta(content=MANY),
        delta(reasoning=["x"] * 2049),
        delta(content=[*BRACKETS, "x" * 70_000]),
        delta(reasoning_details=[*BRACKETS, "x" * 70_000]),
    ],
)
def test_more_than_can_be_read_in_a_moment_is_not_read(choices: object, large: bool) -> None:
    """A million empty choices take more than a second as objects, and everyone waits. (Beyond 64 kB
    another way of reading is taken.)"""
    raw = json.dumps(
        [choices[0] | {"x": "x" * 70_000}, *choices[1:]] if large else choices
    ).encode()  # type: ignore[index]
    with pytest.raises(TooMuch):
        texts_of(read_choices(msgspec.Raw(raw)))


def test_what_is_passed_over_may_be_as_much_as_it_likes() -> None:
    chosen = [
        {
            "delta": {"content": "say", "x": BRACKETS},
            "logprobs": {"content": [{"token": "a"}] * 30_000},
        }
    ] + [{"delta": {"content": "x"}}] * 2047
    assert written(chosen) == ["say"] + ["x"] * 2047
