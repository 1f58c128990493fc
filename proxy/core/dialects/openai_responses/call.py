"""A request for a response: what the proxy decides on in it."""

from __future__ import annotations

from typing import Final

from proxy.core.dialects.contract import Call
from proxy.core.dialects.openai_chat.pictures import inlined
from proxy.core.dialects.openai_responses.bounds import answers_max, holds_more_than_text
from proxy.core.dialects.openai_responses.endpoints import INPUT_TOKENS, known_as
from proxy.core.dialects.openai_responses.named_items import (
    NamedItems,
    named_containers,
    named_items,
)
from proxy.core.dialects.openai_responses.response import text
from proxy.core.dialects.request_fields import Guarded, RequestFields, said_in
from proxy.core.dialects.scan import Ambiguous

PICTURE: Final = "input_image"
_PROMPT: Final = "prompt"
_GUARDED: Final = Guarded(
    (
        "model models stream stream_options n max_output_tokens max_tool_calls background "
        "background_options previous_response_id conversation prompt store safety_identifier "
        "prompt_cache_options truncation service_tier user metadata input instructions tools "
        "max_tokens max_completion_tokens context_management"
    ).split()
)


def read_call(endpoint: str, body: bytes) -> Call:
    """The call that this body makes; ProxyError 400 `invalid_request` or `ambiguous_body`.

    A `prompt` is a template that the vendor keeps, which may name another model: it steers.
    """
    fields = RequestFields(body, _GUARDED)
    values = fields.values
    inline = inlined(values.get("input"), PICTURE)
    start = fields.spans["input"][0] if inline.spans else 0
    model = fields.model()
    template = () if fields.is_null(_PROMPT) else (_PROMPT,)
    named = _named(fields)
    return Call(
        endpoint=endpoint,
        model=model,
        stream=fields.stream(),
        answers=answers_max(values),
        max_tokens=fields.integer("max_output_tokens"),
        include_usage=True,  # the last event states it unasked
        service_tier=fields.string("service_tier"),
        user=fields.string("user"),
        safety_identifier=fields.string("safety_identifier"),
        metadata=fields.texts("metadata"),
        steering=fields.steering + said_in(model) + template,
        prompt_bytes=len(body) - inline.size_bytes,
        pictures=inline.pictures,
        sound_bytes=inline.sound_bytes,
        inlined=tuple((start + begins, start + ends) for begins, ends in inline.spans),
        media=inline.size_bytes > 0 or holds_more_than_text(values),
        background=bytes(values.get("background", b"")) not in (b"", b"false", b"null"),
        continues=_continues(fields),
        items=named.ids,
        references=named.references,
        store=bytes(values.get("store", b"")) != b"false",
        free=endpoint == INPUT_TOKENS,
        spans={"model": fields.spans["model"]},
    )


def _continues(fields: RequestFields) -> tuple[str, ...]:
    """The earlier response and the conversation that it goes on with.

    Anything but an id is left to the vendor, which refuses it.
    """
    conversation = fields.string("conversation")
    members = fields.once("conversation", "id")
    if members is not None and "id" in members:
        conversation = text(members["id"])
    ids = (fields.string("previous_response_id"), conversation)
    return tuple(known_as(id) for id in ids if id is not None)


def _named(fields: RequestFields) -> NamedItems:
    """The single items that it names, in its input and its tools."""
    field = "input"
    try:
        named = named_items(fields.values.get(field))
        field = "tools"
        return named._replace(ids=named.ids + named_containers(fields.values.get(field)))
    except Ambiguous:
        what = "has an entry with a name that stands there twice, or in another case,"
        raise fields.ambiguous(field, what) from None
