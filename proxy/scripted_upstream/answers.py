"""`expected(body)`: the scripted upstream's whole answer to a request, from the request alone.

Its bytes, text and usage. The server writes exactly what this says, so a test knows beforehand what
a client must receive and what a ledger must hold.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence

import msgspec

from proxy.scripted_upstream import errors, messages, replies, responses
from proxy.scripted_upstream.messages import MessageShaper
from proxy.scripted_upstream.models import Behaviour, Fault, UsageAt, behaviour
from proxy.scripted_upstream.requests import BadRequest, ScriptedRequest, read
from proxy.scripted_upstream.responses import ResponseShaper
from proxy.scripted_upstream.shapes import JSONObject, Shaper, Tokens, answer_id, usage

DIMENSIONS = 8  # of an embedding, unless the request asks for another number
DIMENSIONS_MAX = 4096
MID_ANSWER = (Fault.RESET, Fault.CLOSE, Fault.STALL)
_WINDOW_BITS = {"gzip": 31, "deflate": 15}

# APIs whose requests are read as the chats that ask the same.
_AS_CHATS = {"responses": responses.as_chat, "messages": messages.as_chat}


class ScriptedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer as it is written: status, headers, then `events` one by one, then how it ends.

    `events` are the bytes of each write (a JSON body is one), compressed if the headers say so.
    `texts` has the delivered text of each choice, `usage` what the written part states last, None
    if it states nothing. `content_length` is announced if not None: more than is written after a
    fault.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    events: tuple[bytes, ...] = ()
    texts: tuple[str, ...] = ()
    usage: JSONObject | None = None
    ending: Fault = Fault.NONE
    content_length: int | None = None
    pace_s: float | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.events)

    @property
    def text(self) -> str:
        """The delivered text of the first choice."""
        return self.texts[0] if self.texts else ""


class _Write(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a stream before compression."""

    data: bytes
    choice: int = 0
    text: str = ""
    usage: JSONObject | None = None


def expected(
    body: bytes, endpoint: str = "chat/completions", *, credential: str = ""
) -> ScriptedAnswer:
    """The answer to `body` at `endpoint`.

    That is chat/completions, completions, embeddings, responses or messages. `credential` is what a
    401 quotes, as some vendors do.
    """
    try:
        as_chat = _AS_CHATS.get(endpoint)
        request = (
            read(body, endpoint) if as_chat is None else read(as_chat(body), "chat/completions")
        )
    except BadRequest as error:
        return _json(errors.openai(400, error.message, param=error.param), status=400)
    does = behaviour(request.model)
    if does.fault is Fault.ERROR:
        failure = errors.failure(does.status, does.error_style, credential=credential)
        headers = (("content-type", failure.content_type), *failure.headers)
        return ScriptedAnswer(
            status=does.status,
            headers=headers,
            events=(failure.body,),
            content_length=len(failure.body),
        )
    if does.fault in (Fault.NO_HEAD, Fault.HANG):
        return ScriptedAnswer(ending=does.fault)
    if does.fault is Fault.HTML:
        return ScriptedAnswer(
            headers=(("content-type", "text/html; charset=utf-8"),),
            events=(errors.HTML,),
            content_length=len(errors.HTML),
        )
    if does.fault is Fault.REDIRECT:
        return ScriptedAnswer(
            status=does.status,
            headers=(("location", "http://127.0.0.1:9/elsewhere"),),
            content_length=0,
        )
    if endpoint == "embeddings":
        return _finish_json(*_embeddings(request), (), does)
    return _generated(body, request, does, endpoint)


def not_found(what: str) -> ScriptedAnswer:
    """404 in OpenAI's shape."""
    return _json(errors.openai(404, what), status=404)


def listing(value: JSONObject) -> ScriptedAnswer:
    """A JSON answer that used nothing."""
    return _json(value)


def _generated(
    body: bytes, request: ScriptedRequest, does: Behaviour, endpoint: str
) -> ScriptedAnswer:
    """A chat, a completion or a response, as JSON or as a stream."""
    chat = endpoint != "completions"
    hidden = replies.hidden_reasoning_tokens(request)
    if chat:
        said = replies.choices(request, does)
        input_tokens, cached, audio = replies.input_tokens(request)
    else:
        prompts = _texts(request.prompt)
        said, cached, audio = replies.choices(request, does, prompts), 0, 0
        input_tokens = sum(len(replies.pieces(prompt)) for prompt in prompts)
    tokens = Tokens(
        input=input_tokens,
        output=sum(one.output_tokens for one in said) + hidden,
        cached=cached,
        reasoning=sum(len(one.reasoning) for one in said) + hidden,
        audio_input=audio,
    )
    if endpoint == "responses":
        return _responded(body, request, does, said[0], tokens)
    if endpoint == "messages":
        return _messaged(body, request, does, said[0], tokens)
    shaper = Shaper(request, does.shape, answer_id(body, "chatcmpl" if chat else "cmpl"), chat=chat)
    if not request.stream or does.never_streams:
        stated = None if does.shape.usage_at is UsageAt.NEVER else usage(tokens, does.shape.counts)
        return _finish_json(
            shaper.whole(said, tokens), stated, tuple(one.text for one in said), does
        )
    writes = [
        _Write(
            data=_event(msgspec.json.encode(event.data), does),
            choice=event.choice,
            text=event.text,
            usage=event.usage,
        )
        for event in shaper.events(said, tokens)
    ]
    done = (_Write(data=_event(b"[DONE]", does)),)
    error = _event(msgspec.json.encode(errors.openai(500)), does)
    return _finish_stream(writes, len(said), does, done, error)


def _responded(
    body: bytes, request: ScriptedRequest, does: Behaviour, said: replies.Said, tokens: Tokens
) -> ScriptedAnswer:
    """A response, as JSON or as a stream without [DONE]."""
    id = answer_id(body, "resp").replace("-", "_")
    shaper = ResponseShaper(request.model, request.service_tier, does.shape, id)
    if not request.stream or does.never_streams:
        whole = shaper.whole(said, tokens)
        stated = whole["usage"]
        return _finish_json(whole, stated if isinstance(stated, dict) else None, (said.text,), does)
    writes = [
        _Write(data=_named_event(event.data, does), choice=0, text=event.text, usage=event.usage)
        for event in shaper.events(said, tokens)
    ]
    broken: JSONObject = {
        "type": "error",
        "sequence_number": does.after,
        "code": "server_error",
        "message": "Scripted error in the middle.",
        "param": None,
    }
    return _finish_stream(writes, 1, does, (), _named_event(broken, does))


def _messaged(
    body: bytes, request: ScriptedRequest, does: Behaviour, said: replies.Said, tokens: Tokens
) -> ScriptedAnswer:
    """A message, as JSON or as a stream without [DONE]."""
    shaper = MessageShaper(request.model, does.shape, answer_id(body, "msg").replace("-", "_"))
    if not request.stream or does.never_streams:
        whole = shaper.whole(said, tokens)
        stated = whole.get("usage")
        return _finish_json(whole, stated if isinstance(stated, dict) else None, (said.text,), does)
    writes = [
        _Write(data=_named_event(event.data, does), choice=0, text=event.text, usage=event.usage)
        for event in shaper.events(said, tokens)
    ]
    message = "Scripted error in the middle."
    broken: JSONObject = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": message},
    }
    return _finish_stream(writes, 1, does, (), _named_event(broken, does))


def _finish_json(
    value: JSONObject, stated: JSONObject | None, texts: tuple[str, ...], does: Behaviour
) -> ScriptedAnswer:
    """A JSON answer with its fault applied."""
    if does.fault is Fault.ERROR_EVENT:
        return _json(errors.openai(500))
    data = msgspec.json.encode(value)
    coded = b"".join(_compressed([data], does.encoding))
    headers = _headers("application/json", does)
    if does.fault in MID_ANSWER:
        return ScriptedAnswer(
            headers=headers,
            events=(coded[: len(coded) // 2],),
            ending=does.fault,
            content_length=len(coded),
        )
    return ScriptedAnswer(
        headers=headers,
        events=(coded,),
        texts=texts,
        usage=stated,
        content_length=len(coded),
        pace_s=does.pace_s,
    )


def _finish_stream(
    writes: list[_Write],
    choices: int,
    does: Behaviour,
    done: tuple[_Write, ...],
    error: bytes,
) -> ScriptedAnswer:
    """A stream with its last events and its fault applied."""
    ending = Fault.NONE
    if does.fault is Fault.ERROR_EVENT:
        writes = [*writes[: does.after], _Write(data=error), *done]
    elif does.fault is not Fault.NO_DONE:
        writes = [*writes, *done]
    if does.fault in MID_ANSWER:
        writes, ending = writes[: does.after], does.fault
    texts = tuple(
        "".join(write.text for write in writes if write.choice == index) for index in range(choices)
    )
    stated = next((write.usage for write in reversed(writes) if write.usage is not None), None)
    events = _compressed(
        [write.data for write in writes], does.encoding, finish=ending is Fault.NONE
    )
    headers = _headers("text/event-stream; charset=utf-8", does)
    return ScriptedAnswer(
        headers=headers,
        events=tuple(events),
        texts=texts,
        usage=stated,
        ending=ending,
        pace_s=does.pace_s,
    )


def _event(data: bytes, does: Behaviour) -> bytes:
    end = does.line_end.encode()
    comment = b": OPENROUTER PROCESSING" + end + end if does.comments else b""
    return comment + b"data: " + data + end + end


def _named_event(data: JSONObject, does: Behaviour) -> bytes:
    """An event with its name, which stands in its data as well."""
    name = f"event: {data['type']}{does.line_end}".encode()
    event = _event(msgspec.json.encode(data), does)
    before, mark, behind = event.partition(b"data: ")
    return before + name + mark + behind


def _headers(content_type: str, does: Behaviour) -> tuple[tuple[str, str], ...]:
    headers = (
        ("content-type", content_type),
        ("x-request-id", "req_scripted"),
        ("openai-processing-ms", "1"),
    )
    return headers if does.encoding is None else (*headers, ("content-encoding", does.encoding))


def _compressed(
    parts: Sequence[bytes], encoding: str | None, *, finish: bool = True
) -> list[bytes]:
    """Compresses each part so that it can be read when it arrives; the last one ends the stream."""
    if encoding is None:
        return list(parts)
    packer = zlib.compressobj(wbits=_WINDOW_BITS[encoding])
    coded = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    if finish and coded:
        coded[-1] += packer.flush(zlib.Z_FINISH)
    return coded


def _json(value: JSONObject, *, status: int = 200) -> ScriptedAnswer:
    data = msgspec.json.encode(value)
    return ScriptedAnswer(
        status=status,
        headers=(("content-type", "application/json"),),
        events=(data,),
        content_length=len(data),
    )


def _texts(given: str | list[str | int | list[int]] | None) -> list[str]:
    """The prompts or inputs of a request as texts; token ids stand for themselves."""
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    ids = [str(item) for item in given if isinstance(item, int)]
    if len(ids) == len(given):
        return [" ".join(ids)]
    return [" ".join(map(str, item)) if isinstance(item, list) else str(item) for item in given]


def _embeddings(request: ScriptedRequest) -> tuple[JSONObject, JSONObject]:
    """The list of vectors, and its usage."""
    texts = _texts(request.input)
    size = (
        DIMENSIONS
        if request.dimensions is None
        else max(1, min(request.dimensions, DIMENSIONS_MAX))
    )
    rows: list[JSONObject] = []
    for index, text in enumerate(texts):
        vector = _vector(text, size)
        # The official Python SDK asks for base64 by itself.
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        rows.append(
            {
                "object": "embedding",
                "index": index,
                "embedding": packed if request.encoding_format == "base64" else vector,
            }
        )
    count = sum(len(replies.pieces(text)) for text in texts)
    stated: JSONObject = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": rows, "model": request.model, "usage": stated}, stated


def _vector(text: str, size: int) -> list[float]:
    """A unit vector from the digest of `text`."""
    digest = hashlib.shake_256(text.encode(errors="surrogatepass")).digest(size)
    raw = [byte - 127.5 for byte in digest]
    norm = math.sqrt(sum(value * value for value in raw))
    return [round(value / norm, 6) for value in raw]
