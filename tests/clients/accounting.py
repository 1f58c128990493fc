"""What the ledger must hold for a request, told from the scripted upstream's `expected` alone and
read here in our own way."""

from __future__ import annotations

import json
import re

import msgspec

from proxy.core.dialects.openai_chat.pictures import inlined
from proxy.core.tokens.images import image_rule, picture_tokens
from proxy.core.tokens.prompts import SOUND_BYTES_PER_TOKEN
from proxy.scripted_upstream import expected
from tests.clients.cases import JSONObject
from tests.clients.deployment import Row

COLUMNS = (
    "endpoint status outcome stream model_requested input_tokens cached_tokens output_tokens reasoning_tokens audio_input_tokens source inconsistent "
    "finish_reason upstream_request_id"
).split()


def booked(row: Row) -> dict[str, object]:
    """The columns that `due` names."""
    return {name: row[name] for name in COLUMNS}


def due(endpoint: str, body: JSONObject, bytes_in: int) -> dict[str, object]:
    """The record of this request, `bytes_in` being the body's size as the client wrote it."""
    sent = msgspec.json.encode(body)
    answer = expected(sent, endpoint)
    plain = expected(
        msgspec.json.encode(body | {"model": _uncoded(str(body["model"]))}), endpoint
    ).body
    usage = answer.usage
    record: dict[str, object] = {
        "endpoint": f"/v1/{endpoint}",
        "status": answer.status,
        "outcome": "completed",
        "stream": int(body.get("stream") is True),
        "model_requested": body["model"],
        "inconsistent": 0,
        "finish_reason": _finish_reason(plain),
        "upstream_request_id": "req_scripted",
    }
    if usage is None:
        inline = inlined(msgspec.json.decode(sent, type=dict[str, msgspec.Raw]).get("messages"))
        pictures = sum(
            picture_tokens(image_rule(str(body["model"])), picture.size, low=picture.low)
            for picture in inline.pictures
        )
        unknown = {"cached_tokens": None, "reasoning_tokens": None, "audio_input_tokens": None}
        sounds = -(-inline.sound_bytes // SOUND_BYTES_PER_TOKEN)
        input_tokens = _quarter(bytes_in - inline.size_bytes) + pictures + sounds
        return (
            record
            | unknown
            | {
                "input_tokens": input_tokens,
                "output_tokens": _quarter(len(_text(plain).encode())) + _sounds(plain),
                "source": "estimated",
            }
        )
    prompt, completion = (
        usage.get("prompt_tokens_details") or {},
        usage.get("completion_tokens_details") or {},
    )
    assert isinstance(prompt, dict) and isinstance(completion, dict)
    return record | {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": int(str(usage["total_tokens"])) - int(str(usage["prompt_tokens"])),
        "cached_tokens": prompt.get("cached_tokens", usage.get("prompt_cache_hit_tokens")),
        "reasoning_tokens": completion.get("reasoning_tokens"),
        "audio_input_tokens": prompt.get("audio_tokens"),
        "source": "reported",
    }


def _uncoded(model: str) -> str:
    """The model that says the same in plain bytes."""
    return "demo-chat" if model in ("demo-gzip", "demo-deflate") else model


def _quarter(size: int) -> int:
    return -(-size // 4)


def _choices(body: bytes) -> list[JSONObject]:
    """All choices of an answer, in the order they came: of each event, or of the JSON body."""
    if body.startswith(b"{"):
        return list(json.loads(body).get("choices", []))
    lines = [
        line.removeprefix(b"data: ")
        for line in re.split(rb"[\r\n]+", body)
        if line.startswith(b"data: {")
    ]
    return [choice for line in lines for choice in json.loads(line)["choices"]]


def _finish_reason(body: bytes) -> str | None:
    return next(
        (
            str(choice["finish_reason"])
            for choice in reversed(_choices(body))
            if choice.get("finish_reason")
        ),
        None,
    )


def _sounds(body: bytes) -> int:
    """The tokens of speech: one for 512 bytes of each piece of WAV in base64."""
    found = 0
    for choice in _choices(body):
        said = choice.get("delta") or choice.get("message") or {}
        assert isinstance(said, dict)
        data = (said.get("audio") or {}).get("data") or ""
        found += -(-len(data) // 512)
    return found


def _text(body: bytes) -> str:
    """Everything a model wrote: content, reasoning, tools' names and arguments, transcripts."""
    said = []
    for choice in _choices(body):
        message = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        assert isinstance(message, dict)
        said += [
            message.get("content"),
            message.get("reasoning_content"),
            (message.get("audio") or {}).get("transcript"),
        ]
        for call in message.get("tool_calls") or []:
            said += [call["function"].get("name"), call["function"].get("arguments")]
    return "".join(part for part in said if part)
