"""How many tokens a request's prompt is: OpenAI's rule for messages and tools, as its cookbook publishes it ("How to count tokens with tiktoken").

The request is the client's, so any value may be of any type: what is not as the API describes it counts nothing. Only text is tokenised, never an image's, a
sound's or a file's base64. The published rule covers messages of text and functions of flat parameters; whatever else there is makes the count an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from proxy.core.images import SIZE_ASSUMED, ImageRule, Tiles, data_url_size, image_tokens
from proxy.core.tokens import Count, count_texts

_MESSAGE_TOKENS: Final = 3
_REPLY_TOKENS: Final = 3        # every answer is begun for the model
_NAME_TOKENS: Final = 1
_PROPERTIES_TOKENS: Final = 3
_PROPERTY_TOKENS: Final = 3
_ENUM_TOKENS: Final = -3
_ENUM_ITEM_TOKENS: Final = 3
_TOOLS_TOKENS: Final = 12       # once, if there are any
_FUNCTION_TOKENS: Final = {"o200k_base": 7, "cl100k_base": 10}

_IMAGE_UNKNOWN: Final = Tiles(models="*", base_tokens=85, tile_tokens=170)
_TEXT_FIELDS: Final = ("role", "content", "name", "refusal")


class Prompt(msgspec.Struct, frozen=True):
    """A prompt's tokens; `exact` if the published rules covered all that is in it. `characters`: of the texts in it."""

    tokens: int
    exact: bool
    characters: int = 0


def count_prompt(
    messages: object, tools: object, vocabulary: str, count: Count, image: ImageRule | None = None, *, response_format: str = ""
) -> Prompt:
    """Of a chat completion's `messages` and `tools` (or `functions`), decoded from JSON. `vocabulary` is the one that `count` counts with, `image` the model's rule.

    `response_format` is JSON still: a schema in it is part of the prompt, in a form that nobody has published.
    """
    tally = _Tally(image)
    if '"json_schema"' in response_format:
        tally.texts.append(response_format)
        tally.exact = False
    for message in _items(messages):
        tally.message(message)
    tally.fixed += _REPLY_TOKENS
    functions = [tool for tool in _items(tools) if isinstance(tool, dict)]
    for function in functions:
        tally.function(function, _FUNCTION_TOKENS.get(vocabulary, _FUNCTION_TOKENS["o200k_base"]))
    tally.fixed += _TOOLS_TOKENS if functions else 0
    return Prompt(max(tally.fixed + count_texts(tally.texts, count), 0), tally.exact, sum(map(len, tally.texts)))


def count_input(value: object, count: Count) -> int:
    """Of a completion's `prompt` or an embedding's `input`: a text, tokens, or several of either."""
    texts = []
    tokens = 0
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list):
            tokens += len(item)
        elif isinstance(item, int):
            tokens += 1
    return tokens + count_texts(texts, count)


class _Tally:
    """What was found so far: the texts to be tokenised, each for itself, and what counts without."""

    __slots__ = ("_image", "exact", "fixed", "texts")

    def __init__(self, image: ImageRule | None) -> None:
        self._image = image
        self.texts: list[str] = []
        self.fixed = 0
        self.exact = True

    def text(self, value: object) -> None:
        if isinstance(value, str):
            self.texts.append(value)
        elif value is not None:
            self.exact = False

    def message(self, message: object) -> None:
        if not isinstance(message, dict):
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
        calls = [*_items(message.get("tool_calls")), message.get("function_call")]
        for call in calls:
            self.call(call)
        if message.get("role") in ("tool", "function") or message.get("audio") is not None:
            self.exact = False

    def part(self, part: object) -> None:
        """One of several parts of a message's content."""
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict):
            self.text(part)
            self.exact = False
        elif kind == "text":
            self.text(part.get("text"))
        elif kind == "refusal":
            self.text(part.get("refusal"))
        elif kind == "image_url":
            self.image(part.get("image_url"))
        else:
            self.exact = False  # a sound or a file: what it counts as cannot be told from here

    def image(self, image: object) -> None:
        """An image, which counts by its size; one whose size or rule is not known counts as a square of 1024 px does for gpt-4o."""
        url = image.get("url") if isinstance(image, dict) else image
        low = isinstance(image, dict) and image.get("detail") == "low"
        size = data_url_size(url) if isinstance(url, str) else None
        by_size = not (low and isinstance(self._image, Tiles))
        if self._image is None or (size is None and by_size):
            self.exact = False
        width, height = SIZE_ASSUMED if size is None else size
        self.fixed += image_tokens(_IMAGE_UNKNOWN if self._image is None else self._image, width, height, low=low)

    def call(self, call: object) -> None:
        """A tool call of an earlier answer. There is no published rule for it; its name and arguments are what it says."""
        if not isinstance(call, dict):
            self.exact = self.exact and call is None
            return
        self.exact = False
        for inside in (call, call.get("function"), call.get("custom")):
            if isinstance(inside, dict):
                for field in ("name", "arguments", "input"):
                    self.text(inside.get(field))

    def function(self, tool: Mapping[str, object], function_tokens: int) -> None:
        inside = tool.get("function")
        function = inside if isinstance(inside, dict) else tool
        if not isinstance(function.get("name"), str):
            self.exact = False
        self.fixed += function_tokens
        self.texts.append(f"{_word(function.get('name'))}:{_description(function)}")
        # Properties of properties have no published rule; they are counted as if they were the function's own.
        schemas = [function.get("parameters")]
        for schema in schemas:  # grows as it is gone through: no recursion, however deep the client nests
            properties = schema.get("properties") if isinstance(schema, dict) else None
            if not isinstance(properties, dict) or not properties:
                continue
            self.fixed += _PROPERTIES_TOKENS
            for key, value in properties.items():
                self.property(str(key), value)
                nested = [value, value.get("items")] if isinstance(value, dict) else []
                deeper = [each for each in nested if isinstance(each, dict) and "properties" in each]
                schemas += deeper
                if deeper:
                    self.exact = False

    def property(self, key: str, value: object) -> None:
        schema = value if isinstance(value, dict) else {}
        if not isinstance(schema.get("type"), str):
            self.exact = False
        self.fixed += _PROPERTY_TOKENS
        self.texts.append(f"{key}:{_word(schema.get('type'))}:{_description(schema)}")
        items = schema.get("enum")
        if isinstance(items, list):
            self.fixed += _ENUM_TOKENS + _ENUM_ITEM_TOKENS * len(items)
            self.texts += [_word(item) for item in items]


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _word(value: object) -> str:
    """A value as the text it stands for; nothing for what is no single value."""
    if isinstance(value, list):
        return "|".join(item for item in value if isinstance(item, str))
    if isinstance(value, int) and value.bit_length() > 64:
        return ""       # Python refuses to write out the longest ones
    return str(value) if isinstance(value, str | int | float) else ""


def _description(schema: Mapping[str, object]) -> str:
    """Without its last full stop, which the rule does not count."""
    return _word(schema.get("description")).removesuffix(".")
