"""What is fed: answers of every vendor and requests of every kind, damaged. An input follows from
its number and the seed alone, so any can be made again."""

from __future__ import annotations

import json
import random
import re
from functools import cache

import msgspec

from tests.clients.cases import DOCUMENTS
from tests.core.dialects.anthropic_messages.answers import CASES as MESSAGES
from tests.core.dialects.openai_chat.golden import GOLDENS
from tests.core.dialects.openai_responses.answers import CASES as RESPONSES
from tests.core.dialects.passthrough.test_meter import STATED as PASSED
from tests.fuzz.ways import HEAD_BYTES
from tests.support.arbitrary import request_body

INPUT_BYTES_MAX = 8192
OF_REQUESTS = ("call", "prompt")
# What means something to one of the readers.
_WORDS = rb"""data: |data:|data|: ping|event: x|id: 1|retry: 1|[DONE]|data: [DONE]|{|}|[|]|,|:|"|\|\\|\"|\u|\ud83d|\ude00|\u0000|\n|null|true|false|0|-1|1.5|1e9|9007199254740993
"usage":|"usage":{|"usage":null|"choices":|"choices":[]|"choices":null|"delta":{"content":"|"content":|"text":|"reasoning_content":"a"|"tool_calls":|"arguments":"|"name":|"index":0
"finish_reason":"stop"|"finish_reason":"error"|"error":{"message":"m"}|"object":"error"|"prompt_tokens":9|"completion_tokens":4|"total_tokens":13|"cached_tokens":3|"x_groq":{"usage":|"cost":0.1
"model":"m"|"MODEL":"m"|"model":|"stream":true|"stream":false|"stream_options":|{"include_usage":false}|"include_usage":true|"n":2|"max_tokens":1|"messages":|"role":"user"|"metadata":{
{"type":"message_start","message":{|{"type":"message_delta","delta":{|{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"|{"type":"response.output_text.delta","delta":"
{"type":"response.completed","response":{|{"type":"response.output_item.done","item":{|"output":[|"type":"output_text"|"input_tokens":7|"output_tokens":5|"cache_read_input_tokens":3|"iterations":[|"sequence_number":9
"status":"completed"|"stop_reason":"end_turn"|"output_index":1|"item_id":"i"|event: message_stop|"type":"error"|"billed_units":{|"id":"file-1"|"output_file_id":"f"
"image_url":|;base64,|data:image/png;base64,|"obfuscation":"|"service_tier":"flex"|"tools":[|"type":"function"|"parameters":{"properties":{|"enum":|"id":"x\""""
_MEMBER = re.compile(rb'"\w+":(?:"[^"]*"|true|false|null|[0-9]+)')
_SIGNS = (
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xe5\xa5\xbd",
    b"\x00",
    b" ",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
)
TOKENS: tuple[bytes, ...] = (
    *(word for line in _WORDS.splitlines() for word in line.split(b"|")),
    *_SIGNS,
)


@cache
def corpus(target: str) -> tuple[bytes, ...]:
    """Answers or requests as they should be: what this reader is for."""
    of_wires = {
        "responses": [case.body for case in RESPONSES],
        "messages": [case.body for case in MESSAGES],
        "passed": [body for _, body, _ in PASSED.values()],
    }
    if target in of_wires:
        return tuple(body for body in of_wires[target] if 0 < len(body) <= INPUT_BYTES_MAX)
    answers = [golden.body for golden in GOLDENS]
    requests = [
        msgspec.json.encode(body) for document in DOCUMENTS.values() for body in document.values()
    ]
    streamed = [
        msgspec.json.encode(body | {"stream": True, "stream_options": {"include_usage": False}})
        for body in DOCUMENTS["modelverse"].values()
    ]
    streamed += [
        b'{"model":"m","stream":true,"stream_options":{"a":[1,{}],"include_obfuscation":false},"messages":[]}',
        b'{"stream_options" : null , "stream":true,"model":"m"}',
    ]
    written = [request_body(random.Random(f"fuzz/{number}"), stream=True) for number in range(60)]
    alike = [_alike(random.Random(f"alike/{number}")) for number in range(30)]
    return tuple(
        text
        for text in (
            (*requests, *streamed, *written) if target in OF_REQUESTS else (*answers, *alike)
        )
        if 0 < len(text) <= INPUT_BYTES_MAX
    )


def _alike(rng: random.Random) -> bytes:
    """A stream as most are: events that differ in nothing but their text."""
    texts = [
        json.dumps(
            "".join(rng.choices('ab "\\\n\té好😀{}[]:,', k=rng.choice([0, 1, 3, 9]))),
            ensure_ascii=rng.random() < 0.3,
        )
        for _ in range(rng.choice([5, 20]))
    ]
    padding = ',"obfuscation":"%s"' if rng.random() < 0.3 else ""
    events = [
        f'data: {{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"content":{text}}}}}]{padding.replace("%s", "x" * rng.randrange(9))}}}\n\n'
        for text in texts
    ]
    last = (
        'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
        if rng.random() < 0.5
        else ""
    )
    return "".join([*events, last, "data: [DONE]\n\n"]).encode()


def generate(seed: int, target: str, number: int) -> bytes:
    """The input of this number for this target."""
    rng = random.Random(f"{seed}/{target}/{number}")
    texts = corpus(target)
    text = bytearray(
        rng.choice(texts) if rng.random() < 0.95 else rng.randbytes(rng.randrange(200))
    )
    for _ in range(rng.choice([0, 1, 1, 2, 3, 8])):
        _damage(rng, text, texts)
    framed = bytes(text[:INPUT_BYTES_MAX])
    if rng.random() < 0.3:
        framed = rng.choice(
            [framed.replace(b"\n", b"\r"), framed.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + framed]
        )
    return rng.randbytes(HEAD_BYTES) + framed


def _damage(rng: random.Random, text: bytearray, texts: tuple[bytes, ...]) -> None:
    """One change, in place."""
    at = rng.randrange(len(text) + 1)
    size = rng.choice([1, 1, 4, 20, 100])
    kind = rng.randrange(9)
    if kind == 0:
        text[at : at + 1] = rng.randbytes(1)
    elif kind == 1:
        del text[at : at + size]
    elif kind == 2:
        text[at:at] = text[at : at + size] * rng.choice([1, 1, 2, 50])
    elif kind in (3, 4):
        text[at : at + rng.choice([0, 0, 1, 5])] = rng.choice(TOKENS)
    elif kind == 5:
        other = rng.choice(texts)
        start = rng.randrange(len(other))
        text[at : at + rng.choice([0, size])] = other[start : start + rng.choice([10, 100, 1000])]
    elif kind == 6:
        del text[at:]
    elif kind == 7:
        # Another member of a request, perhaps a second of its name, perhaps the same once more.
        text[1:1] = rng.choice([*_MEMBER.findall(text), *rng.choices(TOKENS, k=4)]) + b","
    else:
        end = rng.choice([b"\r", b"\r\n", b"\n\n", b""])
        line = text.find(b"\n", at)
        if line >= 0:
            text[line : line + 1] = end
