"""How this API says no: the events that end a stream.

An error as an answer, and the fields of limits, are the same in all of OpenAI's APIs.
"""

from __future__ import annotations

import msgspec

from proxy.core.dialects.contract import Meter
from proxy.core.errors import ProxyError


def error_event(error: ProxyError, meter: Meter) -> bytes:
    """`response.failed` and then `error`, as the next events of this stream.

    Codex acts on the first and passes over the second; OpenAI's SDKs raise for the second, where
    its error is an object.
    """
    number = meter.next_number
    response: dict[str, object] = {
        "id": meter.response_id,
        "object": "response",
        "status": "failed",
        "model": meter.model_served,
        "output": [],
        "usage": None,
        "error": {"code": error.code, "message": error.message},
    }
    told = {
        "type": error.type,
        "message": error.message,
        "param": error.param,
        "code": error.code,
    }
    failed = {"type": "response.failed", "sequence_number": number, "response": response}
    last = {
        "type": "error",
        "sequence_number": number + 1,
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "error": told,
    }
    return _event(failed) + _event(last)


def _event(event: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        str(event["type"]).encode(),
        msgspec.json.encode(event),
    )
