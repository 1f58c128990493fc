"""The texts of a scripted model: replies, tool arguments, JSON by schema, pieces as tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from proxy.scripted_upstream.models import Behaviour
from proxy.scripted_upstream.requests import Function, Message, ScriptedRequest, Tool, ToolChoice

# The questions that the vendors' documents ask, with the answers they print where they print one.
DOCUMENTED = {
    "What is the capital of France?": "The capital of France is Paris.",
    "Tell me a short story.": (
        "Once upon a time a toll keeper counted every cart that crossed the bridge. One night he"
        " counted one too few, and walked until he had found it."
    ),
    "And if you multiply that by 3?": "4 × 3 = 12.",
    "Hello!": "Hello! How can I help you today?",
    "用一句话介绍量子计算。": "量子计算是一种利用量子力学原理进行信息处理的新型计算方式。",
    "讲个笑话": "为什么数学书总是很忧郁？因为它有太多的问题。",
    "介绍一下深度学习的基本原理。": (
        "深度学习是机器学习的一个子领域，它使用多层神经网络来学习数据的表征。"
    ),
}
CITIES = ("北京", "上海", "Paris", "London", "Boston")
WEATHER = Tool(
    function=Function(
        name="get_weather",
        description="The weather of a city",
        parameters={
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    )
)
# In the last user message: the answer is stopped by the vendor's filter.
FILTER_PHRASE = "[content_filter]"
IMAGE_TOKENS = 85
AUDIO_TOKENS = 20
HIDDEN_REASONING_TOKENS = {"low": 16, "medium": 64, "high": 256}
THOUGHT = "First I read the question. Then I look for the simplest answer."

_PIECE = re.compile(r"\s*(?:[A-Za-z0-9_]+|[\u4e00-\u9fff]{1,2}|[^\sA-Za-z0-9_])|\s+")


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model makes; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One choice, in pieces: each piece is one token and one event."""

    pieces: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        """Spoken tokens, reasoning aloud included, hidden reasoning not."""
        calls = sum(
            len(pieces(call.name)) + len(pieces(call.arguments)) for call in self.tool_calls
        )
        return len(self.pieces) + len(self.reasoning) + calls


def pieces(text: str) -> tuple[str, ...]:
    """The scripted tokens of `text`: words, pairs of Chinese characters, single signs.

    Joined they are the text again.
    """
    return tuple(_PIECE.findall(text))


def text_of(message: Message) -> str:
    """The readable text of a message, with a word in brackets for each part that is no text."""
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content
    return " ".join(
        part.text if part.type == "text" else f"[{part.type}]" for part in message.content
    )


def choices(
    request: ScriptedRequest, behaviour: Behaviour, prompts: Sequence[str] | None = None
) -> tuple[Said, ...]:
    """What each choice says: n choices of a chat, or n a prompt of the completions endpoint."""
    count = 1 if request.n is None else request.n
    if prompts is not None:
        return tuple(
            _spoken(f"{_words(behaviour) or prompt} … and so on.", request, index)
            for prompt in prompts
            for index in range(count)
        )
    calls = _tool_calls(request, behaviour)
    return tuple(
        (
            Said(tool_calls=calls, finish_reason="tool_calls")
            if calls
            else _spoken(_reply(request, behaviour), request, index, thinks=behaviour.thinks)
        )
        for index in range(count)
    )


def input_tokens(request: ScriptedRequest) -> tuple[int, int, int]:
    """(all, cached, audio) input tokens of a chat.

    3, and 4 a message around its pieces. Earlier turns count as cached, in blocks of 16.
    """
    messages = request.messages or []
    tools = len(pieces(msgspec.json.encode(request.tools).decode())) if request.tools else 0
    sizes = [_message_tokens(message) for message in messages]
    parts = [
        part.type
        for message in messages
        if isinstance(message.content, list)
        for part in message.content
    ]
    cached = sum(sizes[:-1]) // 16 * 16
    return 3 + tools + sum(sizes), cached, AUDIO_TOKENS * parts.count("input_audio")


def hidden_reasoning_tokens(request: ScriptedRequest) -> int:
    """Reasoning that is counted and never shown, if the request sets an effort."""
    return HIDDEN_REASONING_TOKENS.get(request.reasoning_effort or "", 0)


def fill(schema: dict[str, object], text: str) -> object:
    """A value that satisfies the common part of JSON Schema.

    Strings say `text`, or a city that it names.
    """
    enum = schema.get("enum")
    if isinstance(enum, list) and enum:
        return enum[0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        properties = schema.get("properties")
        rows = properties.items() if isinstance(properties, dict) else ()
        return {
            str(name): fill(inner if isinstance(inner, dict) else {}, text) for name, inner in rows
        }
    if kind == "array":
        items = schema.get("items")
        return [fill(items, text)] if isinstance(items, dict) else []
    simple: dict[object, object] = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
    return (
        simple.get(kind, next((city for city in CITIES if city in text), text))
        if isinstance(kind, str)
        else text
    )


def _spoken(text: str, request: ScriptedRequest, index: int, *, thinks: bool = False) -> Said:
    """Shortens `text` by the stop sequences, then to the tokens allowed, reasoning included."""
    if index:
        text = f"{text} (choice {index + 1})"
    reason = "content_filter" if FILTER_PHRASE in _last_user_text(request) else "stop"
    for stop in [request.stop] if isinstance(request.stop, str) else request.stop or []:
        if stop and stop in text:
            text = text[: text.index(stop)]
    spoken = pieces(text)
    if reason == "content_filter":
        spoken = spoken[: len(spoken) // 2]
    thoughts = pieces(THOUGHT) if thinks else ()
    cap = (
        request.max_tokens
        if request.max_completion_tokens is None
        else request.max_completion_tokens
    )
    if cap is not None:
        room = max(0, cap - hidden_reasoning_tokens(request))
        thoughts, left = thoughts[:room], max(0, room - len(thoughts))
        if len(spoken) > left:
            spoken, reason = spoken[:left], "length"
    return Said(pieces=spoken, reasoning=thoughts, finish_reason=reason)


def _reply(request: ScriptedRequest, behaviour: Behaviour) -> str:
    """The answer to the last message.

    Earlier messages are echoed, so that a test sees that they arrived.
    """
    words = _words(behaviour)
    if words is not None:
        return words
    messages = request.messages or []
    last = messages[-1]
    asked = text_of(last)
    if last.role == "tool":
        reply = f"The tool answered {last.tool_call_id}: {asked}"
    else:
        reply = DOCUMENTED.get(asked, f"You said: {asked}")
    earlier = "; ".join(f"{message.role}: {text_of(message)}" for message in messages[:-1])
    if earlier:
        reply = f"{reply} (Before that: {earlier})"
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_object":
        return msgspec.json.encode({"answer": reply}).decode()
    if wanted is not None and wanted.type == "json_schema":
        return msgspec.json.encode(fill(wanted.json_schema.schema, reply)).decode()
    return reply


def _words(behaviour: Behaviour) -> str | None:
    return (
        None
        if behaviour.words is None
        else " ".join(f"word{number}" for number in range(behaviour.words))
    )


def _last_user_text(request: ScriptedRequest) -> str:
    return next(
        (
            text_of(message)
            for message in reversed(request.messages or [])
            if message.role == "user"
        ),
        "",
    )


def _tool_calls(request: ScriptedRequest, behaviour: Behaviour) -> tuple[ToolCall, ...]:
    """The calls to make: one of the tools given, unless a tool has just answered.

    `demo-tools` calls each of them, or the weather.
    """
    messages = request.messages or []
    if request.tool_choice == "none" or (messages and messages[-1].role == "tool"):
        return ()
    tools = [
        tool.function
        for tool in request.tools or ([WEATHER] if behaviour.always_tools else [])
        if tool.function is not None
    ]
    if isinstance(request.tool_choice, ToolChoice):
        tools = [tool for tool in tools if tool.name == request.tool_choice.function.name]
    text = _last_user_text(request)
    made = tools if behaviour.always_tools else tools[:1]
    return tuple(
        ToolCall(
            id=f"call_{number}_{tool.name}",
            name=tool.name,
            arguments=msgspec.json.encode(
                fill({"type": "object", **tool.parameters}, text)
            ).decode(),
        )
        for number, tool in enumerate(made)
    )


def _message_tokens(message: Message) -> int:
    tokens = 4 + sum(
        len(pieces(call.function.arguments))
        for call in message.tool_calls or []
        if call.function is not None
    )
    if isinstance(message.content, str):
        return tokens + len(pieces(message.content))
    for part in message.content or []:
        tokens += {"image_url": IMAGE_TOKENS, "input_audio": AUDIO_TOKENS}.get(
            part.type, len(pieces(part.text))
        )
    return tokens
