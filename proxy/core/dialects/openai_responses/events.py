"""What each event of a response's stream brings: new text, a whole text, an item, the response.

Every text comes several times: in pieces, then whole in events that end with `.done`, in its part,
in its item, and in the response of the last event. Some servers leave out one or another of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.core.dialects.openai_responses import items

_ABSENT = msgspec.Raw()


class ResponseEvent(msgspec.Struct, gc=False):
    """The members of an event that are looked at; each value stays text until then.

    `code` is a program's text, or what went wrong; `text` and the names after it hold a whole text.
    """

    type: msgspec.Raw = _ABSENT
    sequence_number: msgspec.Raw = _ABSENT
    delta: msgspec.Raw = _ABSENT
    output_index: msgspec.Raw = _ABSENT
    content_index: msgspec.Raw = _ABSENT
    summary_index: msgspec.Raw = _ABSENT
    command_index: msgspec.Raw = _ABSENT
    item_id: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    refusal: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    code: msgspec.Raw = _ABSENT
    command: msgspec.Raw = _ABSENT
    diff: msgspec.Raw = _ABSENT
    transcript: msgspec.Raw = _ABSENT
    part: msgspec.Raw = _ABSENT
    item: msgspec.Raw = _ABSENT
    response: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    output: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    tool_usage: msgspec.Raw = _ABSENT


class Pieces(msgspec.Struct, frozen=True, gc=False):
    """A kind of text: which member numbers its part, and which holds it whole when it is done."""

    kind: str
    number: str
    whole: str


_CONTENT, _SUMMARY, _COMMAND = "content_index", "summary_index", "command_index"
_TEXT: Final = Pieces(items.TEXT, _CONTENT, "text")
_REASONING: Final = Pieces(items.REASONING, _CONTENT, "text")
_SUMMED_UP: Final = Pieces(items.SUMMARY, _SUMMARY, "text")
_CODE: Final = Pieces(items.CODE, _CONTENT, "code")
_ARGUMENTS: Final = Pieces(items.ARGUMENTS, _CONTENT, "arguments")
_TRANSCRIPT: Final = Pieces(items.TRANSCRIPT, _CONTENT, "transcript")
# As OpenAI names them now, then as it and others once did.
_KINDS: Final = {
    "output_text": _TEXT,
    "refusal": Pieces(items.REFUSAL, _CONTENT, "refusal"),
    "reasoning_text": _REASONING,
    "reasoning_summary_text": _SUMMED_UP,
    "function_call_arguments": _ARGUMENTS,
    "custom_tool_call_input": Pieces(items.INPUT, _CONTENT, "input"),
    "mcp_call_arguments": _ARGUMENTS,
    "code_interpreter_call_code": _CODE,
    "shell_call_command": Pieces(items.COMMAND, _COMMAND, "command"),
    "apply_patch_call_operation_diff": Pieces(items.DIFF, _CONTENT, "diff"),
    "audio.transcript": _TRANSCRIPT,
    "text": _TEXT,
    "reasoning": _REASONING,
    "reasoning_summary": _SUMMED_UP,
    "mcp_call.arguments": _ARGUMENTS,
    "code_interpreter_call.code": _CODE,
    "audio_transcript": _TRANSCRIPT,
    "output_audio_transcript": _TRANSCRIPT,
}
# Keyed as they stand in an event, quotes included.
NEW: Final = {
    f'"response.{name}{end}"'.encode(): pieces
    for name, pieces in _KINDS.items()
    for end in (".delta", "_delta")
}
WHOLE: Final = {
    f'"response.{name}{end}"'.encode(): pieces
    for name, pieces in _KINDS.items()
    for end in (".done", "_done")
}
PARTS: Final = {
    f'"response.{name}.{end}"'.encode(): Pieces(kind, number, "")
    for name, kind, number in (
        ("content_part", items.TEXT, _CONTENT),
        ("reasoning_summary_part", items.SUMMARY, _SUMMARY),
        ("reasoning_part", items.REASONING, _CONTENT),
    )
    for end in ("added", "done")
}
ITEMS: Final = frozenset((b'"response.output_item.added"', b'"response.output_item.done"'))
ENDS: Final = frozenset(
    f'"response.{name}"'.encode()
    for name in ("completed", "incomplete", "failed", "cancelled", "done")
)
ERRORS: Final = frozenset((b'"error"', b'"response.error"'))
UNKNOWN: Final = Pieces(items.OTHER, _CONTENT, "")
_NOT_TEXT: Final = (b"audio", b"image", b"video", b"output_content", b"_result")

event_decoder: Final = msgspec.json.Decoder(ResponseEvent)
_string_decoder = msgspec.json.Decoder(str)


def type_of(event: ResponseEvent) -> bytes:
    """The type of an event, its quotes included, however it is written."""
    name = bytes(event.type)
    if b"\\" not in name:
        return name
    return b'"' + items.string(event.type) + b'"'


def brings_text(name: bytes) -> bool:
    """Whether an event of a type that is not known here brings new text, to judge by its name."""
    return name.endswith((b'.delta"', b'_delta"')) and not any(
        sign in name for sign in _NOT_TEXT if b"transcript" not in name
    )


def index_of(raw: msgspec.Raw) -> int | None:
    """A number of an item or a part; None if it is none."""
    digits = bytes(raw)
    return int(digits) if digits.isdigit() and len(digits) < 10 else None
