"""A message's request: what the proxy decides on in it."""

from __future__ import annotations

from proxy.core.dialects.anthropic_messages.bounds import holds_more_than_text
from proxy.core.dialects.anthropic_messages.endpoints import COUNT_TOKENS
from proxy.core.dialects.anthropic_messages.pictures import inlined
from proxy.core.dialects.anthropic_messages.stated import FAST
from proxy.core.dialects.contract import Call
from proxy.core.dialects.request_fields import Guarded, RequestFields, said_in

_GUARDED = Guarded(
    {
        "model",
        "models",
        "stream",
        "max_tokens",
        "service_tier",
        "speed",
        "inference_geo",
        "metadata",
        "fallbacks",
        "fallback_credit_token",
        "container",
        "mcp_servers",
        "thread",
        "context_management",
    }
)


def read_call(endpoint: str, body: bytes) -> Call:
    """The call that this body makes; ProxyError 400 `invalid_request` or `ambiguous_body`.

    `metadata.user_id` is its user. Fast speed is a tier of its own, as it is priced. Counting the
    tokens of a request is free: nothing is generated.
    """
    fields = RequestFields(body, _GUARDED)
    values = fields.values
    model = fields.model()
    counts = endpoint == COUNT_TOKENS
    metadata = fields.texts("metadata")
    inline = inlined(body, values, fields.spans)
    return Call(
        endpoint=endpoint,
        model=model,
        stream=fields.stream(),
        n=1,
        answers=1,
        max_tokens=fields.integer("max_tokens"),
        include_usage=True,
        service_tier=FAST if fields.string("speed") == FAST else fields.string("service_tier"),
        user=metadata.get("user_id"),
        metadata=metadata,
        steering=fields.steering + said_in(model),
        prompt_bytes=len(body) - inline.size_bytes,
        pictures=inline.pictures,
        inlined=inline.spans,
        media=inline.size_bytes > 0 or holds_more_than_text(values),
        writes_text=not counts,
        free=counts,
        spans={"model": fields.spans["model"]},
    )
