"""Reads answers in a server's own form as if they had come in this API's.

They are seen behind gateways that pass an answer on unread: Ollama's (`message` or `response`,
`prompt_eval_count`, `eval_count`), Cloudflare Workers AI's (`response`, in a `result`) and Google's
(`candidates`, `usageMetadata`). Only their places differ; `stated.py` knows the names of their
counts.
"""

from __future__ import annotations

import msgspec

from proxy.core.dialects.json_text import JSON_ERRORS

_ABSENT = msgspec.Raw()
_CANDIDATES_BYTES_MAX = 2**20  # of what is made into objects
_CANDIDATES_MAX = 128


class Native(msgspec.Struct, gc=False):
    """The members of their own that these servers have at the top of an event or an answer."""

    message: msgspec.Raw = _ABSENT
    response: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    done_reason: msgspec.Raw = _ABSENT
    prompt_eval_count: msgspec.Raw = _ABSENT
    prompt_eval_cached_count: msgspec.Raw = _ABSENT
    eval_count: msgspec.Raw = _ABSENT
    candidates: msgspec.Raw = _ABSENT
    usage_metadata: msgspec.Raw = msgspec.field(name="usageMetadata", default=_ABSENT)
    model_version: msgspec.Raw = msgspec.field(name="modelVersion", default=_ABSENT)
    response_id: msgspec.Raw = msgspec.field(name="responseId", default=_ABSENT)


class _Content(msgspec.Struct, gc=False):
    parts: msgspec.Raw = msgspec.Raw(b"null")


class _Candidate(msgspec.Struct, gc=False):
    index: int = 0
    content: _Content | None = None
    finish: msgspec.Raw = msgspec.field(name="finishReason", default=msgspec.Raw(b"null"))


_native_decoder = msgspec.json.Decoder(Native)
_candidates_decoder = msgspec.json.Decoder(list[_Candidate])


def read_native(data: bytes) -> Native:
    """What such a server's own members are. Raises one of JSON_ERRORS."""
    return _native_decoder.decode(data)


def wrapped_in(native: Native) -> bytes | None:
    """The answer inside another, as Cloudflare wraps it: `{"result": {…}, "success": true}`."""
    for raw in (native.result, native.response):
        if bytes(memoryview(raw)[:1]) == b"{":
            return bytes(raw)
    return None


def choices_in(native: Native) -> msgspec.Raw:
    """What was written, as choices; absent where there is nothing."""
    if bytes(memoryview(native.message)[:1]) == b"{":
        return _choice(b'"delta":' + bytes(native.message), native.done_reason)
    if bytes(memoryview(native.response)[:1]) == b'"':
        return _choice(b'"text":' + bytes(native.response), native.done_reason)
    if 0 < memoryview(native.candidates).nbytes <= _CANDIDATES_BYTES_MAX:
        try:
            candidates = _candidates_decoder.decode(native.candidates)[:_CANDIDATES_MAX]
        except JSON_ERRORS:
            return _ABSENT
        return msgspec.Raw(b"[" + b",".join(map(_of_candidate, candidates)) + b"]")
    return _ABSENT


def usage_in(native: Native) -> msgspec.Raw:
    """The counts that it states, as an object; absent where it states none."""
    if memoryview(native.usage_metadata).nbytes:
        return native.usage_metadata
    counts = [
        b'"%b":%b' % (name.encode(), bytes(raw))
        for name in ("prompt_eval_count", "prompt_eval_cached_count", "eval_count")
        if memoryview(raw := getattr(native, name)).nbytes
    ]
    return msgspec.Raw(b"{" + b",".join(counts) + b"}") if counts else _ABSENT


def _choice(said: bytes, finish: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(b'[{"index":0,%b,"finish_reason":%b}]' % (said, bytes(finish) or b"null"))


def _of_candidate(candidate: _Candidate) -> bytes:
    parts = b"null" if candidate.content is None else bytes(candidate.content.parts)
    return b'{"index":%d,"delta":{"content":%b},"finish_reason":%b}' % (
        candidate.index,
        parts,
        bytes(candidate.finish),
    )
