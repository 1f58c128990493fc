"""The prompt rule gives the figures that OpenAI publishes, and takes whatever a client can write
into a request."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.tokens.images import image_rule
from proxy.core.tokens.prompts import Prompt, count_input, count_prompt
from tests.support.corpora import count
from tests.support.effort import examples

FIXED = settings(max_examples=examples(300))

# The example of OpenAI's cookbook, "How to count tokens with tiktoken", with what its API counted
# for it.
MESSAGES = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "New synergies will help drive top-line growth.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Things working well together will increase revenue.",
    },
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    },
]
QUESTION = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]
WEATHER = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": "The city and state, e.g. San Francisco, CA",
            },
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
}
TOOLS = [{"type": "function", "function": WEATHER}]
PNG = (
    "data:image/png;base64,"
    + base64.b64encode(
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00\x00\x00\x02\x00" + bytes(500_000)
    ).decode()
)


def words(text: str) -> int:
    return len(text.split())


def prompt(*messages: object, tools: object = None, model: str = "gpt-4o") -> tuple[int, bool]:
    found = count_prompt(list(messages), tools, "o200k_base", words, image_rule(model))
    return found.tokens, found.exact


@pytest.mark.parametrize(
    ("vocabulary", "messages", "tools"), [("cl100k_base", 129, 105), ("o200k_base", 124, 101)]
)
def test_the_published_figures(vocabulary: str, messages: int, tools: int):
    def exactly(prompt: Prompt) -> int | None:
        return prompt.tokens if prompt.exact else None

    def counted(text: str) -> int:
        return count(vocabulary, text)

    assert exactly(count_prompt(MESSAGES, None, vocabulary, counted)) == messages
    assert exactly(count_prompt(QUESTION, TOOLS, vocabulary, counted)) == tools
    assert exactly(count_prompt(QUESTION, [WEATHER], vocabulary, counted)) == tools, (
        "the older `functions`"
    )
    stopped = msgspec.json.decode(
        msgspec.json.encode(TOOLS)
        .replace(b'location"', b'location."', 1)
        .replace(b'CA"', b'CA."')
        .replace(b'return"', b'return."')
    )
    assert (
        stopped != TOOLS and exactly(count_prompt(QUESTION, stopped, vocabulary, counted)) == tools
    ), "without the last full stop"


@pytest.mark.parametrize(
    ("message", "tokens", "exact"),
    [
        ({"role": "user", "content": "a b"}, 6 + 3, True),
        ({"role": "user", "content": "a b", "name": "me"}, 6 + 5, True),
        ({"role": "user", "content": None}, 6 + 1, True),
        ({"role": "user"}, 6 + 1, True),
        ({"role": "assistant", "content": "", "refusal": "no no no"}, 6 + 4, True),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a b"}, {"type": "refusal", "refusal": "c"}],
            },
            6 + 4,
            True,
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]},
            6 + 1 + 255,
            True,
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}],
            },
            6 + 1 + 85,
            True,
        ),
        ({"role": "user", "content": [{"type": "image_url", "image_url": PNG}]}, 6 + 1 + 255, True),
        (
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
                ],
            },
            6 + 1 + 765,
            False,
        ),
        (
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": "https://example.com/a.png", "detail": "low"},
                    }
                ],
            },
            6 + 1 + 85,
            True,
        ),
        (
            {
                "role": "user",
                "content": [
                    {
                        "type": "input_audio",
                        "input_audio": {"data": "SUQz" + "A" * 1276, "format": "mp3"},
                    }
                ],
            },
            6 + 1 + 10,
            False,
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "A" * 400}}]},
            6 + 1 + 111,
            False,
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "x y z",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1}'},
                    }
                ],
            },
            6 + 1 + 3,
            False,
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "a b"}}],
            },
            6 + 1 + 3,
            False,
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            6 + 1 + 2,
            False,
        ),
        ({"role": "tool", "tool_call_id": "x y", "content": "42"}, 6 + 2, False),
        ({"role": "user", "content": 7}, 6 + 1 + 1, False),
        ({"role": "user", "content": ["a b"]}, 6 + 3, False),
        ("text and more", 3 + 4, False),
        # What no rule names counts by its bytes: some server may show it to its model.
        ({"role": "user", "content": "a b", "reasoning_content": "x" * 400}, 6 + 3 + 107, False),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "x" * 400}]},
            6 + 1 + 108,
            False,
        ),
        ({"role": "user", "content": {"text": "x" * 400}}, 6 + 1 + 103, False),
        ({"role": "tool", "tool_call_id": "x" * 400, "content": "42"}, 6 + 2 + 101, False),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a b", "cache_control": {"type": "ephemeral"}}
                ],
            },
            6 + 3,
            True,
        ),
        (None, 3, False),
    ],
)
def test_what_a_message_may_hold(message: object, tokens: int, exact: bool):
    assert prompt(message) == (tokens, exact)


def test_an_image_of_a_model_whose_rule_is_not_known_counts_as_for_gpt_4o():
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}
    assert prompt(message, model="qwen-vl") == (6 + 1 + 255, False)


def test_base64_is_never_tokenised():
    seen: list[str] = []
    parts = [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "input_audio", "input_audio": {"data": PNG}},
        {"type": "file", "file": {"file_data": PNG}},
        {"type": "new", "data": PNG},
    ]
    count_prompt(
        [{"role": "user", "content": parts, "audio": {"data": PNG}}],
        None,
        "o200k_base",
        lambda text: seen.append(text) or 1,
    )
    assert seen == ["user"]


@pytest.mark.parametrize(
    ("function", "tokens", "exact"),
    [
        ({"name": "f"}, 7 + 1 + 12, True),
        ({"name": "f", "parameters": {"type": "object", "properties": {}}}, 7 + 1 + 12, True),
        (
            {
                "name": "f",
                "parameters": {"properties": {"a": {"type": "integer", "enum": [1, 2, 3]}}},
            },
            7 + 1 + 3 + 3 + 1 - 3 + 3 * 4 + 12,
            True,
        ),
        (
            {"name": "f", "parameters": {"properties": {"a": {"type": ["string", "null"]}}}},
            7 + 1 + 3 + 3 + 1 + 12,
            False,
        ),
        (
            {
                "name": "f",
                "parameters": {
                    "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}
                },
            },
            7 + 1 + 2 * (3 + 3 + 1) + 12,
            False,
        ),
        (
            {
                "name": "f",
                "parameters": {
                    "properties": {
                        "a": {"type": "array", "items": {"properties": {"b": {"type": "string"}}}}
                    }
                },
            },
            7 + 1 + 2 * (3 + 3 + 1) + 12,
            False,
        ),
        ({"name": "f", "parameters": {"properties": {"a": True}}}, 7 + 1 + 3 + 3 + 1 + 12, False),
        ({"name": 1, "parameters": [], "description": {}}, 7 + 1 + 1 + 1 + 12, False),
        (
            {"name": "f", "parameters": {"$defs": {"a": {"const": "x" * 400}}}},
            7 + 1 + 108 + 12,
            False,
        ),
        (
            {
                "name": "f",
                "parameters": {"properties": {"a": {"type": "string", "title": "x" * 400}}},
            },
            7 + 1 + 3 + 3 + 1 + 104 + 12,
            False,
        ),
        (
            {
                "name": "f",
                "parameters": {
                    "properties": {"a": {"type": "string"}},
                    "required": ["a", "x" * 400],
                },
            },
            7 + 1 + 3 + 3 + 1 + 102 + 12,
            False,
        ),
        (
            {
                "name": "f",
                "strict": True,
                "parameters": {
                    "properties": {"a": {"type": "array", "items": {"type": "string"}}},
                    "required": ["a"],
                },
            },
            7 + 1 + 3 + 3 + 1 + 12,
            True,
        ),
    ],
)
def test_what_a_function_may_hold(function: object, tokens: int, exact: bool):
    assert prompt(tools=[{"type": "function", "function": function}]) == (3 + tokens, exact)


def test_what_counts_once_counts_once_for_several_functions():
    assert prompt(tools=[{"name": "f"}, {"type": "function", "function": {"name": "g"}}]) == (
        3 + 2 * (7 + 1) + 12,
        True,
    )


def test_depth_and_size_cost_no_more_than_their_bytes():
    schema: dict[str, object] = {"type": "string"}
    for _ in range(20_000):
        schema = {"type": "object", "properties": {"a": schema}}
    assert (
        prompt(tools=[{"name": "f", "parameters": schema}])[0]
        == 3 + 7 + 1 + 20_000 * (3 + 3 + 1) + 12
    )
    calls: list[int] = []
    count_prompt(
        [{"role": "user", "content": "word " * 1000}] * 5000,
        None,
        "o200k_base",
        lambda text: calls.append(len(text)) or len(text) // 5,
    )
    assert sum(calls) < 420_000, "one bound for all messages together"
    assert (
        prompt(tools=[{"name": "f", "parameters": {"properties": {"a": {"enum": [10**5000]}}}}])[0]
        > 0
    )


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("a b", 2),
        (["a", "b c"], 3),
        ([1, 2, 3], 3),
        ([[1, 2], [3]], 3),
        ([], 0),
        (None, 0),
        ({"a": 1}, 3),
        ([None, {}], 1),
    ],
)
def test_inputs_of_completions_and_embeddings(value: object, tokens: int):
    assert count_input(value, words) == tokens


NAMES = "role content name refusal tool_calls function_call type text image_url url detail function parameters properties description enum items arguments audio".split()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from([*NAMES, "user", "low", PNG[:80], "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=25,
)


@given(messages=JSON, tools=JSON)
@FIXED
def test_whatever_json_the_client_sends_has_a_count(messages: object, tools: object):
    assert count_prompt(messages, tools, "o200k_base", words).tokens >= 0
    assert count_prompt([messages], [tools], "unknown", words).tokens >= 0
    assert count_input(messages, words) >= 0


def test_the_characters_are_those_of_the_text_alone() -> None:
    assert (
        count_prompt(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "abc"},
                        {"type": "image_url", "image_url": {"url": PNG}},
                    ],
                }
            ],
            None,
            "o200k_base",
            words,
        ).characters
        == len("user") + 3
    )


def test_a_schema_for_the_answer_is_part_of_the_prompt() -> None:
    def of(form: str) -> Prompt:
        return count_prompt([], None, "o200k_base", words, response_format=form)

    plain = of("")
    assert of('{"type": "json_object"}') == of('{"type": "text"}') == of("null") == plain
    schema = '{"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}'
    assert of(schema) == Prompt(plain.tokens + words(schema), False, len(schema))


@pytest.mark.parametrize(
    ("message", "guessed"),
    [
        ({"role": "user", "content": "a"}, False),
        ({"role": "tool", "content": "a"}, False),
        ({"role": "user", "content": "a", "x": "y"}, True),
    ],
)
def test_what_counts_by_its_bytes_is_a_guess(message: object, guessed: bool) -> None:
    assert count_prompt([message], None, "o200k_base", words).guessed is guessed


@pytest.mark.parametrize(
    "url",
    [
        "data:text/plain;base64,",
        "data:application/pdf;base64,",
        "DATA:,",
        "data:image/png;base64,bXkgd29yZHM",
        "data:image/png;base64,",
    ],
)
def test_an_image_that_says_it_is_something_else_counts_with_its_bytes(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url + "A" * 40_000}}
    assert (
        count_prompt([{"role": "user", "content": [part]}], None, "o200k_base", words).tokens
        >= 10_000
    )


@pytest.mark.parametrize("data", ["bXkgd29yZHM", "data:audio/mp3;base64,bXkgd29yZHM", ""])
def test_words_in_base64_that_say_they_are_a_sound_count_with_their_bytes(data: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": data + "A" * 40_000, "format": "mp3"}}
    message = {"role": "user", "content": [part]}
    assert count_prompt([message], None, "o200k_base", words).tokens >= 10_000


@pytest.mark.parametrize("kind", ["text", "refusal", "input_audio"])
def test_a_member_of_another_kind_of_part_counts_with_its_bytes(kind: str) -> None:
    """Servers differ in whether they go by a part's type or by its members."""
    part = {"type": kind, kind: "x", "image_url": {"url": PNG + "A" * 40_000}}
    assert (
        count_prompt([{"role": "user", "content": [part]}], None, "o200k_base", words).tokens
        >= 10_000
    )
