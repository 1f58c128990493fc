"""Counts the tokens of a prompt by OpenAI's published rule for messages and tools.

The rule stands in its cookbook, "How to count tokens with tiktoken". The request is the client's,
so any value may be of any type. Only text is tokenised, never an image's, a sound's or a file's
base64. The rule covers messages of text and functions of flat parameters. All else counts by its
bytes, since some vendor may show it to its model, and makes the count an estimate: a prompt cannot
be hidden in a member that no rule names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.core.tokens.images import HEAD_CHARS_MAX, ImageRule, Tiles, data_url_size, picture_tokens
from proxy.core.tokens.magic import is_picture, is_sound
from proxy.core.tokens.text import Count, count_texts

SOUND_BYTES_PER_TOKEN: Final = 128  # of base64: speech at 24 kbit/s and 32 tokens a second
_BYTES_PER_TOKEN: Final = 4  # of what no rule covers
_MESSAGE_TOKENS: Final = 3
_REPLY_TOKENS: Final = 3  # every answer is begun for the model
_NAME_TOKENS: Final = 1
_PROPERTIES_TOKENS: Final = 3
_PROPERTY_TOKENS: Final = 3
_ENUM_TOKENS: Final = -3
_ENUM_ITEM_TOKENS: Final = 3
_TOOLS_TOKENS: Final = 12  # once, if there are any
_FUNCTION_TOKENS: Final = {"o200k_base": 7, "cl100k_base": 10}

_SHORT_CHARS: Final = 64  # of an id, or of an answer's form without a schema
_TEXT_FIELDS: Final = ("role", "content", "name", "refusal")
_MESSAGE_FIELDS: Final = frozenset({*_TEXT_FIELDS, "tool_calls", "function_call", "tool_call_id"})
_CALL_FIELDS: Final = frozenset(
    {"id", "type", "index", "function", "custom", "name", "arguments", "input"}
)
_TOOL_FIELDS: Final = frozenset({"type", "function", "name", "description", "parameters", "strict"})
_SCHEMA_FIELDS: Final = frozenset(
    {"type", "description", "enum", "properties", "items", "required", "additionalProperties"}
)
_KIND_FIELDS: Final = frozenset({"type"})
_KINDS: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
# Members of a body beside its prompt that no vendor shows to its model.
_SILENT_FIELDS: Final = frozenset(
    """
    model messages tools functions prompt input response_format stream stream_options n best_of
    max_tokens max_completion_tokens temperature top_p top_k min_p stop presence_penalty
    frequency_penalty repetition_penalty logit_bias logprobs top_logprobs seed user metadata
    service_tier safety_identifier prompt_cache_key prompt_cache_retention parallel_tool_calls
    tool_choice function_call reasoning_effort verbosity modalities audio store echo encoding_format
    dimensions prediction web_search_options
    """.split()
)


class Prompt(msgspec.Struct, frozen=True):
    """A prompt's tokens; `exact` if the published rules covered all that is in it. `characters`: of
    the texts in it.

    `guessed`: some of it counts by its bytes, and may be shown to no model: it says nothing about
    how the rest is counted.
    `sampled`: only windows of its body were counted, pictures and sounds not at all.
    """

    tokens: int
    exact: bool
    characters: int = 0
    guessed: bool = False
    sampled: bool = False


def count_prompt(
    messages: object,
    tools: object,
    vocabulary: str,
    count: Count,
    image: ImageRule | None = None,
    *,
    response_format: str = "",
    other_bytes: int = 0,
) -> Prompt:
    """Of a chat completion's `messages` and `tools` (or `functions`), decoded from JSON.
    `count` counts with `vocabulary`; `image` is the model's rule.

    `response_format` is JSON still: a schema in it is part of the prompt, in a form that is not
    published. `other_bytes` are those of other members.
    """
    tally = _Tally(image)
    tally.bytes_of_other(other_bytes)
    if '"json_schema"' in response_format:
        tally.texts.append(response_format)
        tally.exact = False
    elif len(response_format) > _SHORT_CHARS:
        tally.bytes_of_other(len(response_format))
    for message in tally.items(messages):
        tally.message(message)
    tally.fixed += _REPLY_TOKENS
    functions = [tool for tool in tally.items(tools) if isinstance(tool, dict)]
    for function in functions:
        tally.function(function, _FUNCTION_TOKENS.get(vocabulary, _FUNCTION_TOKENS["o200k_base"]))
    tally.fixed += _TOOLS_TOKENS if functions else 0
    return Prompt(
        max(tally.fixed + count_texts(tally.texts, count), 0),
        tally.exact,
        sum(map(len, tally.texts)),
        tally.guessed,
    )


def count_input(value: object, count: Count, *, other_bytes: int = 0) -> int:
    """Of a completion's `prompt` or an embedding's `input`: a text, tokens, or several of either.
    `other_bytes` are those of other members."""
    texts = []
    tokens = 0
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list):
            tokens += len(item)
            other_bytes += sum(size_bytes(inner) for inner in item if not isinstance(inner, int))
        elif isinstance(item, int):
            tokens += 1
        else:
            other_bytes += size_bytes(item)
    return tokens + _tokens_of(other_bytes) + count_texts(texts, count)


def beside_prompt_bytes(fields: Mapping[str, msgspec.Raw]) -> int:
    """Bytes of the texts, lists and objects of a body beside its prompt.

    A model may be shown them all the same.
    """
    return sum(
        len(bytes(raw))
        for name, raw in fields.items()
        if name not in _SILENT_FIELDS and bytes(memoryview(raw)[:1]) in (b'"', b"[", b"{")
    )


def size_bytes(value: object) -> int:
    """About what a value takes as JSON; however deep it is nested. Nothing takes nothing."""
    size = 0
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            size += len(item.encode("utf-8", "surrogatepass")) + 2
        elif isinstance(item, dict):
            size += 2 + 2 * len(item)
            rest += item.keys()
            rest += item.values()
        elif isinstance(item, list):
            size += 2 + len(item)
            rest += item
        elif item is not None:
            size += 4  # a number, true or false: about a token
    return size


def _tokens_of(other_bytes: int) -> int:
    return -(-other_bytes // _BYTES_PER_TOKEN)


def _encoded_head(text: str) -> str:
    """The beginning of base64 that may stand in a data URL."""
    head = text[:HEAD_CHARS_MAX]
    return head.partition(",")[2] if head[:5].lower() == "data:" else head


class _Tally:
    """What was found so far: the texts to be tokenised, each for itself, and what counts
    without."""

    __slots__ = ("_image", "exact", "fixed", "guessed", "texts")

    def __init__(self, image: ImageRule | None) -> None:
        self._image = image
        self.texts: list[str] = []
        self.fixed = 0
        self.exact = True
        self.guessed = False

    def items(self, value: object) -> list[object]:
        """The items of a list; anything else is read by some servers as they like."""
        if isinstance(value, list):
            return value
        self.other(value)
        return []

    def text(self, value: object) -> None:
        if isinstance(value, str):
            self.texts.append(value)
        else:
            self.other(value)

    def other(self, value: object) -> None:
        """What no rule covers."""
        self.bytes_of_other(size_bytes(value))

    def bytes_of_other(self, other_bytes: int) -> None:
        if other_bytes:
            self.fixed += _tokens_of(other_bytes)
            self.exact = False
            self.guessed = True

    def others(self, value: Mapping[str, object], known: frozenset[str]) -> None:
        """The members of an object that no rule names."""
        for name, member in value.items():
            if name not in known and member is not None:
                self.other({name: member})

    def short(self, value: object) -> None:
        """An id: nothing while it is as short as ids are."""
        if not isinstance(value, str) or len(value) > _SHORT_CHARS:
            self.other(value)

    def message(self, message: object) -> None:
        if not isinstance(message, dict):
            self.other(message)
            self.exact = False
            return
        self.fixed += _MESSAGE_TOKENS
        if isinstance(message.get("name"), str):
            self.fixed += _NAME_TOKENS
        for field in _TEXT_FIELDS:
            value = message.get(field)
            if field == "content" and isinstance(value, list):
                for part in value:
                    self.part(part)
            else:
                self.text(value)
        calls = [*self.items(message.get("tool_calls")), message.get("function_call")]
        for call in calls:
            self.call(call)
        self.short(message.get("tool_call_id"))
        self.others(message, _MESSAGE_FIELDS)
        if message.get("role") in ("tool", "function"):
            self.exact = False

    def part(self, part: object) -> None:
        """One of several parts of a message's content."""
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict):
            self.text(part)
            self.exact = False
            return
        if kind == "text":
            self.text(part.get("text"))
        elif kind == "refusal":
            self.text(part.get("refusal"))
        elif kind == "image_url":
            self.image(part.get("image_url"))
        elif kind == "input_audio":
            self.sound(part.get("input_audio"))
        else:
            # A file, or what a vendor has invented: what it counts as cannot be told from here.
            self.other(part)
            return
        self.others(part, frozenset({"type", kind, "cache_control"}))

    def image(self, image: object) -> None:
        """An image, which counts by its size. A data URL of anything else may hold text, and counts
        with its bytes."""
        url = image.get("url") if isinstance(image, dict) else image
        if (
            isinstance(url, str)
            and url[:5].lower() == "data:"
            and not (url[:11].lower() == "data:image/" and is_picture(_encoded_head(url)))
        ):
            self.other(image)
            return
        low = isinstance(image, dict) and image.get("detail") == "low"
        size = data_url_size(url) if isinstance(url, str) else None
        by_size = not (low and isinstance(self._image, Tiles))
        if self._image is None or (size is None and by_size):
            self.exact = False
        self.fixed += picture_tokens(self._image, size, low=low)

    def sound(self, sound: object) -> None:
        """A sound, which counts by its length, as far as its bytes tell of that."""
        self.exact = False
        data = sound.get("data") if isinstance(sound, dict) else sound
        self.fixed += (
            -(-len(data) // SOUND_BYTES_PER_TOKEN)
            if isinstance(data, str) and is_sound(_encoded_head(data))
            else _tokens_of(size_bytes(data))
        )

    def call(self, call: object) -> None:
        """A tool call of an earlier answer. There is no published rule for it; its name and
        arguments are what it says."""
        if not isinstance(call, dict):
            self.other(call)
            return
        self.exact = False
        self.short(call.get("id"))
        self.others(call, _CALL_FIELDS)
        for inside in (call, call.get("function"), call.get("custom")):
            if isinstance(inside, dict):
                for field in ("name", "arguments", "input"):
                    self.text(inside.get(field))
                if inside is not call:
                    self.others(inside, _CALL_FIELDS)

    def function(self, tool: Mapping[str, object], function_tokens: int) -> None:
        inside = tool.get("function")
        function = inside if isinstance(inside, dict) else tool
        self.others(tool, _TOOL_FIELDS)
        if function is not tool:
            self.others(function, _TOOL_FIELDS)
        self.fixed += function_tokens
        self.texts.append(f"{self.word(function.get('name'))}:{self.description(function)}")
        if not isinstance(function.get("name"), str):
            self.exact = False
        # Properties of properties have no published rule; they are counted as if they were the
        # function's own.
        schemas = [function.get("parameters")]
        for (
            schema
        ) in schemas:  # grows as it is gone through: no recursion, however deep the client nests
            if not isinstance(schema, dict):
                self.other(schema)
                continue
            self.schema(schema)
            properties = schema.get("properties")
            if not isinstance(properties, dict) or not properties:
                continue
            self.fixed += _PROPERTIES_TOKENS
            for key, value in properties.items():
                self.property(str(key), value)
                nested = [value, value.get("items")] if isinstance(value, dict) else []
                deeper = [
                    each for each in nested if isinstance(each, dict) and "properties" in each
                ]
                schemas += deeper
                if deeper:
                    self.exact = False

    def schema(self, schema: Mapping[str, object]) -> None:
        """What a schema says beside its properties, which the rule leaves out as far as it is
        usual."""
        self.others(schema, _SCHEMA_FIELDS)
        properties, required, more = (
            schema.get("properties"),
            schema.get("required"),
            schema.get("additionalProperties"),
        )
        if not isinstance(properties, dict):
            self.other(properties)
            properties = {}
        if isinstance(required, list):
            self.other(
                [name for name in required if not isinstance(name, str) or name not in properties]
                or None
            )
        else:
            self.other(required)
        if not isinstance(more, bool):
            self.other(more)

    def property(self, key: str, value: object) -> None:
        schema = value if isinstance(value, dict) else {}
        if not isinstance(schema.get("type"), str):
            self.exact = False
        self.fixed += _PROPERTY_TOKENS
        self.texts.append(f"{key}:{self.word(schema.get('type'))}:{self.description(schema)}")
        items, enum = schema.get("items"), schema.get("enum")
        if "properties" not in schema:
            self.schema(schema)  # else it is one of the schemas to be gone through
        if isinstance(items, dict) and "properties" not in items:
            self.others(items, _KIND_FIELDS)
            if items.get("type") not in _KINDS:
                self.other(items.get("type"))
        elif not isinstance(items, dict):
            self.other(items)
        if isinstance(enum, list):
            self.fixed += _ENUM_TOKENS + _ENUM_ITEM_TOKENS * len(enum)
            self.texts += [self.word(item) for item in enum]
        else:
            self.other(enum)

    def word(self, value: object) -> str:
        """A value as the text it stands for; what is no single value counts by its bytes."""
        if isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                self.other(value)
            return "|".join(item for item in value if isinstance(item, str))
        if isinstance(value, int) and value.bit_length() > 64:
            return ""  # Python refuses to write out the longest ones
        if isinstance(value, dict):
            self.other(value)
        return str(value) if isinstance(value, str | int | float) else ""

    def description(self, schema: Mapping[str, object]) -> str:
        """Without its last full stop, which the rule does not count."""
        return self.word(schema.get("description")).removesuffix(".")
