"""An error of ours as OpenAI's SDKs read it: as an answer, and as the end of a stream."""

from __future__ import annotations

import json

from proxy.core.dialects.openai_chat.meter import ChatMeter
from proxy.core.dialects.openai_chat.refusals import error_body, error_event
from proxy.core.errors import ProxyError

ERROR = ProxyError(404, "invalid_request_error", "model_not_found", "No 模型 “x”.", param="model")
SHAPE = {
    "error": {
        "message": "No 模型 “x”.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
}


def test_an_error_is_told_in_the_shape_that_the_sdks_read() -> None:
    assert json.loads(error_body(ERROR)) == SHAPE


def test_in_a_stream_it_is_one_whole_event() -> None:
    event = error_event(ERROR, ChatMeter(stream=True))
    assert event.startswith(b"data: ") and event.endswith(b"}\n\n") and event.count(b"\n") == 2
    assert json.loads(event.removeprefix(b"data: ")) == SHAPE
