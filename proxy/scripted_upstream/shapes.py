"""The objects of an answer in a vendor's shape: envelope, choices, events, usage."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import msgspec

from proxy.scripted_upstream.models import AnswerShape, ScriptedUsage, UsageAt
from proxy.scripted_upstream.replies import Said, pieces
from proxy.scripted_upstream.requests import ScriptedRequest

CREATED_S = 1717008000  # fixed: the same request gets the same bytes
# `service_tier` of the answer is the tier used; others are used as asked.
SERVED_TIERS = {"auto": "default"}
AUDIO = base64.b64encode(b"RIFF scripted audio").decode()

JSONObject = dict[str, object]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer used; reasoning is inside output, cached and audio inside input."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    audio_input: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream: its object, the choice whose text it delivers, the usage it states."""

    data: JSONObject
    choice: int = 0
    text: str = ""
    usage: JSONObject | None = None


def usage(tokens: Tokens, counts: ScriptedUsage) -> JSONObject:
    """The usage object as that vendor names and counts it."""
    stated: JSONObject = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
    }
    if counts is ScriptedUsage.DETAILED:
        stated["prompt_tokens_details"] = {
            "cached_tokens": tokens.cached,
            "audio_tokens": tokens.audio_input,
        }
        stated["completion_tokens_details"] = {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    elif counts is ScriptedUsage.DEEPSEEK:
        stated["prompt_cache_hit_tokens"] = tokens.cached
        stated["prompt_cache_miss_tokens"] = tokens.input - tokens.cached
        if tokens.reasoning:
            stated["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    elif counts is ScriptedUsage.XAI:
        stated["completion_tokens"] = tokens.output - tokens.reasoning
        stated["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return stated


def answer_id(body: bytes, prefix: str) -> str:
    """An id that depends on the request alone.

    Two equal requests get the same, as with vendors that repeat theirs.
    """
    return f"{prefix}-{hashlib.sha256(body).hexdigest()[:24]}"


class Shaper:
    """Builds every object of one answer."""

    def __init__(
        self, request: ScriptedRequest, shape: AnswerShape, answer_id: str, *, chat: bool
    ) -> None:
        self._request = request
        self._shape = shape
        self._id = answer_id
        self._chat = chat
        self._audio = "audio" in (request.modalities or ())

    def whole(self, said: Sequence[Said], tokens: Tokens) -> JSONObject:
        """The JSON answer."""
        answer = self._envelope(
            "chat.completion" if self._chat else "text_completion",
            [self._choice(index, one) for index, one in enumerate(said)],
        )
        if self._shape.usage_at is not UsageAt.NEVER:
            answer["usage"] = usage(tokens, self._shape.counts)
        return answer

    def events(self, said: Sequence[Said], tokens: Tokens) -> Iterator[Event]:
        """The events of a stream without its [DONE], the choices taking turns."""
        at, options = self._shape.usage_at, self._request.stream_options
        asked = at is UsageAt.ASKED and options is not None and options.include_usage is True
        final = usage(tokens, self._shape.counts)
        left, spent = len(said), tokens.reasoning - sum(len(one.reasoning) for one in said)
        for turn in zip_longest(*(list(self._deltas(one)) for one in said)):
            for index, step in enumerate(turn):
                if step is None:
                    continue
                delta, text, size, finish_reason = step
                spent += size
                left -= finish_reason is not None
                choice = self._event_choice(index, delta, text, finish_reason)
                data = self._envelope(
                    "chat.completion.chunk" if self._chat else "text_completion", [choice]
                )
                stated: JSONObject | None = None
                if at is UsageAt.EVERY:
                    stated = (
                        final
                        if left == 0
                        else usage(
                            msgspec.structs.replace(tokens, output=spent), self._shape.counts
                        )
                    )
                elif left == 0 and at in (UsageAt.FINISH, UsageAt.CHOICE, UsageAt.X_GROQ):
                    stated = final
                self._state(data, choice, stated, null=asked)
                yield Event(data=data, choice=index, text=text, usage=stated)
        if asked:
            data = self._envelope("chat.completion.chunk" if self._chat else "text_completion", [])
            yield Event(data=data | {"usage": final}, usage=final)

    def _state(
        self, data: JSONObject, choice: JSONObject, stated: JSONObject | None, *, null: bool
    ) -> None:
        """Put `stated` where this vendor puts it."""
        if stated is None:
            if null:
                data["usage"] = None
        elif self._shape.usage_at is UsageAt.CHOICE:
            choice["usage"] = stated
        elif self._shape.usage_at is UsageAt.X_GROQ:
            data["x_groq"] = {"id": f"req_{self._id[-12:]}", "usage": stated}
        else:
            data["usage"] = stated

    def _envelope(self, kind: str, choices: list[JSONObject]) -> JSONObject:
        head: JSONObject = {
            "id": self._id,
            "object": kind,
            "created": CREATED_S,
            "model": self._shape.serves or self._request.model,
        }
        tier = self._request.service_tier
        if tier is not None:
            head["service_tier"] = SERVED_TIERS.get(tier, tier)
        if self._shape.fingerprint is not None:
            head["system_fingerprint"] = self._shape.fingerprint
        return (
            {"choices": choices} | head
            if self._shape.choices_first
            else head | {"choices": choices}
        )

    def _choice(self, index: int, said: Said) -> JSONObject:
        choice: JSONObject = {"index": index}
        if not self._chat:
            choice |= {"text": said.text, "logprobs": None, "finish_reason": said.finish_reason}
            return choice
        message: JSONObject = {"role": "assistant", "content": said.text}
        if said.reasoning:
            message["reasoning_content"] = "".join(said.reasoning)
        if said.tool_calls:
            message["content"] = None
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in said.tool_calls
            ]
        elif self._audio:
            message |= {
                "content": None,
                "audio": {
                    "id": f"audio_{index}",
                    "data": AUDIO,
                    "expires_at": CREATED_S + 3600,
                    "transcript": said.text,
                },
            }
        choice["message"] = message
        self._add_logprobs(choice, said.pieces)
        choice["finish_reason"] = said.finish_reason
        return choice

    def _event_choice(
        self, index: int, delta: JSONObject, text: str, finish_reason: str | None
    ) -> JSONObject:
        if not self._chat:
            return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
        if self._shape.bare:
            return {"delta": delta, "index": index} | (
                {} if finish_reason is None else {"finish_reason": finish_reason}
            )
        choice: JSONObject = {"index": index, "delta": delta}
        self._add_logprobs(choice, (text,) if text else ())
        choice["finish_reason"] = finish_reason
        return choice

    def _add_logprobs(self, choice: JSONObject, said: Sequence[str]) -> None:
        if self._request.logprobs:
            choice["logprobs"] = {
                "content": [self._logprob(piece) for piece in said],
                "refusal": None,
            }
        elif self._shape.logprobs_null:
            choice["logprobs"] = None

    def _logprob(self, piece: str) -> JSONObject:
        one: JSONObject = {"token": piece, "logprob": -0.25, "bytes": list(piece.encode())}
        return one | {"top_logprobs": [one] * min(self._request.top_logprobs or 0, 1)}

    def _deltas(self, said: Said) -> Iterator[tuple[JSONObject, str, int, str | None]]:
        """(delta, text delivered, tokens, finish reason) of one choice's events."""
        if self._chat and not self._shape.bare:
            yield {"role": "assistant", "content": ""}, "", 0, None
        for piece in said.reasoning:
            yield {"reasoning_content": piece}, "", 1, None
        for number, call in enumerate(said.tool_calls):
            opening = {
                "index": number,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            yield {"tool_calls": [opening]}, "", len(pieces(call.name)), None
            for piece in pieces(call.arguments):
                yield (
                    {"tool_calls": [{"index": number, "function": {"arguments": piece}}]},
                    "",
                    1,
                    None,
                )
        for piece in said.pieces:
            yield (
                (
                    {"audio": {"id": "audio_0", "transcript": piece}}
                    if self._audio
                    else {"content": piece}
                ),
                piece,
                1,
                None,
            )
        if self._audio and said.pieces:
            yield {"audio": {"data": AUDIO}}, "", 0, None
        yield {}, "", 0, said.finish_reason
