"""What a request of this wire asks for, and what its prompt counts as."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.contract import Call
from proxy.core.dialects.json_text import JSON_ERRORS
from proxy.core.dialects.request_fields import Guarded, RequestFields, said_in
from proxy.core.tokens.images import ImageRule
from proxy.core.tokens.prompts import Prompt
from proxy.core.tokens.text import Count, count_texts

GUARDED = Guarded({"model", "models", "stream", "say", "most"})


class Asked(msgspec.Struct):
    """The prompt in a request."""

    say: str = ""


_decoder = msgspec.json.Decoder(Asked)


def read_call(endpoint: str, body: bytes) -> Call:
    """The call that this body makes; ProxyError 400 where readers would take it for another one."""
    fields = RequestFields(body, GUARDED)
    model = fields.model()
    return Call(
        endpoint=endpoint,
        model=model,
        stream=fields.stream(),
        answers=1,
        max_tokens=fields.integer("most"),
        include_usage=True,  # the last event states it unasked
        steering=fields.steering + said_in(model),
        prompt_bytes=len(body),
        spans={"model": fields.spans["model"]},
    )


def count_prompt(
    call: Call, body: bytes, vocabulary: str, image_rules: Sequence[ImageRule], count: Count
) -> Prompt | None:
    """The tokens of `say`. Nothing else of a request is shown to a model."""
    try:
        text = _decoder.decode(body).say
    except JSON_ERRORS:
        return None
    return Prompt(count_texts([text], count), exact=True, characters=len(text))
