"""A chat completion's, completion's or embedding's request: what the proxy decides on in it."""

from __future__ import annotations

from proxy.core.dialects.contract import Call
from proxy.core.dialects.openai_chat.bounds import answers_max, holds_media, names_media
from proxy.core.dialects.openai_chat.endpoints import EMBEDDINGS
from proxy.core.dialects.openai_chat.pictures import NOTHING, inlined
from proxy.core.dialects.openai_chat.usual_call import SPLICED, usual_call
from proxy.core.dialects.request_fields import Guarded, RequestFields, said_in

_GUARDED = Guarded(
    {
        "model",
        "models",
        "stream",
        "stream_options",
        "n",
        "best_of",
        "max_tokens",
        "max_completion_tokens",
        "service_tier",
        "user",
        "metadata",
    }
)


def read_call(endpoint: str, body: bytes) -> Call:
    """The call that this body makes; ProxyError 400 `invalid_request` or `ambiguous_body`."""
    usual = usual_call(endpoint, body)
    return read_any_call(endpoint, body) if usual is None else usual


def read_any_call(endpoint: str, body: bytes) -> Call:
    """The same, with care: of a body in any form."""
    fields = RequestFields(body, _GUARDED)
    values, spans = fields.values, fields.spans
    named = names_media(body)
    inline = inlined(values.get("messages")) if named else NOTHING
    messages_start = spans["messages"][0] if inline.spans else 0
    model = fields.model()
    return Call(
        endpoint=endpoint,
        model=model,
        stream=fields.stream(),
        answers=answers_max(endpoint, values),
        n=_at_least(fields.integer("n"), 1),
        max_tokens=_max_tokens(fields),
        include_usage=_include_usage(fields),
        service_tier=fields.string("service_tier"),
        user=fields.string("user"),
        safety_identifier=fields.string("safety_identifier"),
        metadata=fields.texts("metadata"),
        steering=fields.steering + said_in(model),
        prompt_bytes=len(body) - inline.size_bytes,
        pictures=inline.pictures,
        sound_bytes=inline.sound_bytes,
        inlined=tuple(
            (messages_start + start, messages_start + end) for start, end in inline.spans
        ),
        media=inline.size_bytes > 0 or holds_media(values, named=named),
        echo=bytes(values.get("echo", b"")) == b"true",
        writes_text=endpoint != EMBEDDINGS,
        spans={name: spans[name] for name in SPLICED if name in spans},
        object_start=fields.object_start,
    )


def _include_usage(fields: RequestFields) -> bool | None:
    """What stream_options says about usage: it decides about what is spliced."""
    options = fields.once("stream_options", "include_usage")
    if options is None or "include_usage" not in options:
        return None  # null, or nothing that states it
    return {b"true": True, b"false": False}.get(bytes(options["include_usage"]))


def _max_tokens(fields: RequestFields) -> int | None:
    """The larger cap, or None if there is none or one of the two cannot be told."""
    largest: int | None = None
    for name in ("max_tokens", "max_completion_tokens"):
        if name not in fields.values or fields.is_null(name):
            continue
        cap = fields.integer(name)
        if cap is None:
            return None
        largest = cap if largest is None else max(largest, cap)
    return largest


def _at_least(number: int | None, minimum: int) -> int | None:
    return number if number is not None and number >= minimum else None
