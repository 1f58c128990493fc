"""How much a request may use at most, as far as its body says.

It tells how many answers it asks for, and whether its prompt is text alone. Limits that admit only
what can be bounded ask for it. Whatever could be read in two ways counts as "cannot be told": parts
of a message are known to be text or count as something else, since vendors invent new ones (videos,
documents, sounds by reference) all the time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.names import squeezed
from proxy.core.dialects.openai_chat.endpoints import COMPLETIONS, EMBEDDINGS
from proxy.core.dialects.scan import count

# As a pattern it takes a fifth of the time of looking for each of them in turn.
_MEDIA = re.compile(rb'"(?:image_url"|input_audio"|file"|video_url")')
_MEDIA_BYTES_MIN = 6  # of the shortest of them
_BACKSLASH, _BRACE = b"\\{"
_MEDIA_BYTES_MAX = 2**20
_ANSWERS_MAX = 2**20  # more than any vendor gives
_PROMPTS = ("messages", "prompt", "input")
# Members in which a property may well be called "file".
_SCHEMAS = frozenset({"tools", "functions", "response_format"})
# What is found, looked up or spoken is billed too, and neither the body's size nor a cap of tokens
# covers it.
_BEYOND_TEXT = frozenset(
    {
        "audio",
        "web_search_options",
        "web_search",
        "enable_search",
        "search_options",
        "search_parameters",
        "data_sources",
        "cached_content",
        "extra_body",
        "prompt_embeds",
    }
)
_NAMES = {squeezed(name): name for name in _BEYOND_TEXT | set(_PROMPTS)}
# What nearly every request is made of: their names stand for nothing else.
_TEXT_ALONE = frozenset(
    "messages prompt input model stream stream_options temperature top_p n max_tokens"
    " max_completion_tokens tool_choice user stop seed reasoning_effort".split()
)
# Tools that the client runs; others are the vendor's own: searches, look-ups, code.
_TOOLS = frozenset({"function", "custom"})
_ESCAPE = re.compile(rb"\\u00([2-7][0-9a-fA-F])")  # of a printable ASCII character
_NOTHING = (b"", b"null", b"false", b"[]")


class _BoundPart(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A part of a message's content that is text, with all that it may have."""

    type: Literal["text", "refusal", "thinking"]
    text: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    thinking: msgspec.Raw = msgspec.Raw()
    signature: msgspec.Raw = msgspec.Raw()
    cache_control: msgspec.Raw = msgspec.Raw()


class _BoundMessage(msgspec.Struct, gc=False):
    """A message that is text alone: all places for anything else are empty.

    Other messages do not decode.
    """

    content: str | list[_BoundPart] | None = None
    audio: None = None
    image: None = None
    images: None = None
    video: None = None
    videos: None = None
    file: None = None
    files: None = None


class _Tool(msgspec.Struct, gc=False):
    type: str = ""


_texts_decoder = msgspec.json.Decoder(str | list[str | int | list[int]])
_strings_decoder = msgspec.json.Decoder(list[str])
_tokens_decoder = msgspec.json.Decoder(list[int])
_token_lists_decoder = msgspec.json.Decoder(list[list[int]])
_messages_decoder = msgspec.json.Decoder(list[_BoundMessage])
_tools_decoder = msgspec.json.Decoder(list[_Tool])


def answers_max(endpoint: str, fields: Mapping[str, msgspec.Raw]) -> int | None:
    """How many answers, each up to the cap on its tokens, this request may get.

    0: its answer is no text. None: that cannot be told.
    """
    if endpoint == EMBEDDINGS:
        return 0
    if _is_beyond_text(fields):
        return None
    most = _count(fields.get("n"))
    if endpoint == COMPLETIONS and most is not None:
        best_of, prompts = _count(fields.get("best_of")), _prompts(fields.get("prompt"))
        most = None if best_of is None or prompts is None else max(most, best_of) * prompts
    return most if most is None or most <= _ANSWERS_MAX else None


def names_media(body: bytes) -> bool:
    """Whether a name of media stands in quotes anywhere in this body, or may stand in escapes.

    Most bodies have none, so that they need not be looked through for media.
    """
    return (
        len(body) > _MEDIA_BYTES_MAX
        or _MEDIA.search(body) is not None
        or (_BACKSLASH in body and body.find(b"\\u00") >= 0)
    )


def holds_media(fields: Mapping[str, msgspec.Raw], *, named: bool = True) -> bool:
    """Whether there may be anything but text in the prompt, or its vendor may add to it.

    `named`: what `names_media` says of the body.
    """
    if _is_beyond_text(fields):
        return True
    if not named:
        return any(
            _is_unlike_text(name, bytes(fields[name])) for name in _PROMPTS if name in fields
        )
    return any(
        _is_media(name, bytes(raw))
        for name, raw in fields.items()
        if (len(raw) >= _MEDIA_BYTES_MIN or name in _PROMPTS) and name not in _SCHEMAS
    )


def text_alone(messages: msgspec.Raw) -> bool:
    """Whether these messages, which name no media, are surely text and nothing else."""
    try:
        _messages_decoder.decode(messages)
    except JSON_ERRORS:
        return False
    return True


def functions_alone(tools: bytes) -> bool:
    """Whether a list of tools holds none that the vendor itself would run."""
    try:
        return all(tool.type in _TOOLS for tool in _tools_decoder.decode(tools))
    except JSON_ERRORS:
        return False


def _is_beyond_text(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Names are compared as the most lenient reader does it."""
    for name in fields:
        if name in _TEXT_ALONE:
            continue
        known = _NAMES.get(squeezed(name))
        if known is not None and (
            known != name if known in _PROMPTS else bytes(fields[name]) not in _NOTHING
        ):
            return True
    modalities, tools = fields.get("modalities"), fields.get("tools")
    if tools is not None and len(bytes(tools)) > _MEDIA_BYTES_MAX:
        return True  # millions of small ones would be decoded in one go
    try:
        return (
            modalities is not None
            and bytes(modalities) != b"null"
            and _strings_decoder.decode(modalities) != ["text"]
        ) or (
            tools is not None
            and bytes(tools) != b"null"
            and any(tool.type not in _TOOLS for tool in _tools_decoder.decode(tools))
        )
    except JSON_ERRORS:
        return True


def _is_media(name: str, prompt: bytes) -> bool:
    if len(prompt) > _MEDIA_BYTES_MAX:
        return True
    # Names are looked for by their bytes, since readers disagree about which of two equal fields
    # holds. They may be written in escapes.
    plain = (
        prompt
        if _BACKSLASH not in prompt or prompt.find(b"\\u00") < 0
        else _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), prompt)
    )
    if _MEDIA.search(plain) is not None:
        return True
    return name in _PROMPTS and _is_unlike_text(name, prompt)


def _is_unlike_text(name: str, prompt: bytes) -> bool:
    """Whether a prompt has a form that may hold more than text."""
    if prompt == b"null" or _BRACE not in prompt:
        return False
    try:
        if name == "messages":
            _messages_decoder.decode(prompt)
        else:
            _texts_decoder.decode(prompt)
    except JSON_ERRORS:
        return True
    return False


def _count(raw: msgspec.Raw | None) -> int | None:
    """1 where nothing is named; None for anything but a whole number from 1 on."""
    text = b"null" if raw is None else bytes(raw)
    if text == b"null":
        return 1
    return int(text) if text.isdigit() and len(text) < 9 and int(text) >= 1 else None


def _prompts(raw: msgspec.Raw | None) -> int | None:
    """How many prompts there are: each text of a list, or each list of tokens, is answered.

    A list of tokens is one prompt; a mixed list cannot be told, nor one of more than can be made
    into objects.
    """
    if raw is None or bytes(memoryview(raw)[:1]) != b"[":
        return 1
    text = bytes(raw)
    if count(text, b",") > _ANSWERS_MAX:
        return None
    first = text[1:].lstrip()[:1]
    try:
        if first == b'"':
            return len(_strings_decoder.decode(raw))
        if first == b"[":
            return len(_token_lists_decoder.decode(raw))
        _tokens_decoder.decode(raw)
    except JSON_ERRORS:
        return None
    return 1
