"""A chat completion's, completion's or embedding's request: what the proxy decides on in it."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from proxy.core.dialects.openai_chat.bounds import answers_max, holds_media
from proxy.core.dialects.openai_chat.pictures import Picture, inlined
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
_SPLICED = ("model", "stream", "stream_options")


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request asks for. None is "not named"; a value of an unexpected type counts as not
    named.

    `max_tokens` is the larger of max_tokens and max_completion_tokens. `steering` are the
    STEERING_FIELDS in the body. `prompt_bytes`: of the body, without what is proved to be
    a picture or a sound (base64 says nothing about tokens), which are `pictures` and `sound_bytes`,
    at the places `inlined`; `answers`: how many it may get at most, None where that cannot be told.
    `media`: it holds or fetches more than its own text (images, sounds, files, searches), whose
    tokens nothing in it tells.
    `echo`: the answer is asked to begin with what was sent.
    `spans` gives [start, end) of the values of model, stream and stream_options in the body,
    `object_start` the offset behind its `{`.
    """

    endpoint: str
    model: str
    stream: bool = False
    n: int | None = None
    answers: int | None = None
    max_tokens: int | None = None
    include_usage: bool | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] = {}
    steering: tuple[str, ...] = ()
    prompt_bytes: int = 0
    pictures: tuple[Picture, ...] = ()
    sound_bytes: int = 0
    inlined: tuple[tuple[int, int], ...] = ()
    media: bool = False
    echo: bool = False
    spans: dict[str, tuple[int, int]] = {}
    object_start: int = 0

    @property
    def cap(self) -> int | None:
        """The most tokens that each answer may have, as far as the request says: servers in Go read
        0 as if none were named."""
        return self.max_tokens if self.max_tokens != 0 else None


def read_call(endpoint: str, body: bytes, allow_fields: Collection[str] | None = ()) -> Call:
    """The call that this body makes; ProxyError 400 `invalid_request` or `ambiguous_body`, 403
    `field_not_allowed`.

    `allow_fields` are the steering fields that its upstream allows. Where the model has yet to
    choose the upstream, pass None, which
    allows all, and call `forbid_fields` afterwards.
    """
    fields = RequestFields(body, _GUARDED, allow_fields)
    values, spans = fields.values, fields.spans
    inline = inlined(values.get("messages"))
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
        steering=fields.steering + said_in(model, allow_fields),
        prompt_bytes=len(body) - inline.size_bytes,
        pictures=inline.pictures,
        sound_bytes=inline.sound_bytes,
        inlined=tuple(
            (messages_start + start, messages_start + end) for start, end in inline.spans
        ),
        media=inline.size_bytes > 0 or holds_media(values),
        echo=bytes(values.get("echo", b"")) == b"true",
        spans={name: spans[name] for name in _SPLICED if name in spans},
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
        if fields.is_null(name):
            continue
        cap = fields.integer(name)
        if cap is None:
            return None
        largest = cap if largest is None else max(largest, cap)
    return largest


def _at_least(number: int | None, minimum: int) -> int | None:
    return number if number is not None and number >= minimum else None
