"""Events are known by their types."""

from __future__ import annotations

import typing

import msgspec
import openai
import pytest
from openai.types.responses import ResponseStreamEvent

from proxy.core.dialects.openai_responses.events import (
    ENDS,
    NEW,
    WHOLE,
    ResponseEvent,
    brings_text,
    index_of,
    type_of,
)


def types_of_the_sdk() -> set[str]:
    union = typing.get_args(ResponseStreamEvent)[0]
    return {
        typing.get_args(kind.model_fields["type"].annotation)[0] for kind in typing.get_args(union)
    }


def test_every_text_of_the_official_client_is_known() -> None:
    silent = {"response.audio.delta", "response.shell_call_output_content.delta"}
    names = types_of_the_sdk()
    assert len(names) > 40, openai.__version__
    for name in names:
        if name.endswith(".delta") and name not in silent:
            assert f'"{name}"'.encode() in NEW, name
            done = name.removesuffix("delta") + "done"
            assert done not in names or f'"{done}"'.encode() in WHOLE, done
    assert {name.decode().strip('"') for name in ENDS} & names == {
        "response.completed", "response.incomplete", "response.failed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("response.new_kind.delta", True), ("response.new_kind_delta", True), ("response.audio.delta", False),
        ("response.output_audio_transcript.delta", True), ("response.shell_call_output_content.delta", False),
        ("response.image_generation_call.partial_image", False), ("response.new_kind.done", False),
    ],
)  # fmt: skip
def test_a_kind_that_is_not_known_is_judged_by_its_name(name: str, text: bool) -> None:
    assert brings_text(f'"{name}"'.encode()) is text


def test_a_type_is_the_same_however_it_is_written() -> None:
    assert type_of(ResponseEvent(type=msgspec.Raw(b'"response\\u002ecompleted"'))) in ENDS
    assert index_of(msgspec.Raw(b"12")) == 12
    assert [index_of(msgspec.Raw(text)) for text in (b"", b"-1", b"1.0", b'"1"', b"9" * 30)] == [
        None
    ] * 5
