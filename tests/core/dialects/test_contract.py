"""What the data path relies on, held for every dialect of the registry: a new one is tested here by
standing there."""

from __future__ import annotations

import itertools
import json
from typing import get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.contract import Call, Dialect, Meter
from proxy.core.dialects.registry import BY_ENDPOINT, DEFAULT, DIALECTS
from proxy.core.errors import ProxyError
from proxy.core.http.sse import SSEParser
from proxy.core.limits.language import parse
from proxy.core.limits.limit import Scope, limit_of
from proxy.core.limits.state import LimitState
from proxy.core.steering import STEERING_FIELDS
from tests.support.effort import examples
from tests.support.toy_wire.dialect import TOY

every = pytest.mark.parametrize("dialect", (*DIALECTS, TOY), ids=lambda dialect: dialect.name)
FIXED = settings(max_examples=examples(150), derandomize=True)
ERROR = ProxyError(429, "tokens", "rate_limit_exceeded", 'Line\nbreak, "quotes", 模型.')
FIGURES = [name for name, value in vars(Meter).items() if isinstance(value, property)]
# of JSON and event streams, so that generated bodies come near to what is read
PIECES = st.lists(
    st.sampled_from(
        [b"data: ", b"event: x\n", b"\n\n", b"\r\n", b"{", b"}", b"[", b"]", b'"', b":", b",", b"1", b"null",
         b'"model":"m"', b'"usage":{"input_tokens":7,"output_tokens":3}', b'"bit":"x"', b'"over":"y"', b'"type":"error"', b'"error":{"message":"x"}', b"\xff", b"\\ud83d", b"[DONE]"]
    ),
    max_size=24,
).map(b"".join)  # fmt: skip
BODIES = st.one_of(st.binary(max_size=64), PIECES)


def figures(meter: Meter) -> dict[str, object]:
    return {name: getattr(meter, name) for name in FIGURES if name != "texts"}


def test_each_path_has_one_dialect_and_each_dialect_a_name() -> None:
    endpoints = [endpoint for dialect in DIALECTS for endpoint in dialect.endpoints]
    assert len(endpoints) == len(set(endpoints)) == len(BY_ENDPOINT)
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)
    assert DEFAULT in DIALECTS
    for dialect in DIALECTS:
        assert dialect.endpoints and all(path.startswith("/v1/") for path in dialect.endpoints)
        assert dialect.name.isidentifier() and dialect.name.islower()
        assert (dialect.ask_for_usage is None) == (dialect.usage_filter is None)


@every
def test_a_call_is_its_model_at_its_endpoint(dialect: Dialect) -> None:
    hints = get_type_hints(Call)
    for endpoint in dialect.endpoints:
        body = b'{"model": "m"}'
        call = dialect.read_call(endpoint, body)
        assert (call.endpoint, call.model, call.stream) == (endpoint, "m", False)
        assert 0 <= call.prompt_bytes <= len(body)
        assert call.spans["model"] == (body.index(b'"m"'), body.index(b'"m"') + 3)
        assert msgspec.convert(msgspec.to_builtins(call), dict)
        assert set(hints) <= set(dir(call))
        assert dialect.read_call(endpoint, b'{"model": "m", "stream": true}').stream


@every
def test_what_readers_would_take_for_another_call_is_refused(dialect: Dialect) -> None:
    for endpoint in dialect.endpoints:
        for body in (
            b"",
            b"[]",
            b'{"mo',
            b"{}",
            b'{"model": 7}',
            b'{"model": "\xff"}',
            b'{"model": "a", "model": "b"}',
            b'{"model": "a", "MODEL": "b"}',
            b'{"model": "a", "stream": "yes"}',
        ):
            with pytest.raises(ProxyError) as refused:
                dialect.read_call(endpoint, body)
            assert refused.value.status == 400


@every
def test_what_could_lead_elsewhere_is_named_and_left_to_the_upstreams_config(
    dialect: Dialect,
) -> None:
    for name in STEERING_FIELDS:
        body = json.dumps({"model": "m", name: ["x"]}).encode()
        assert name in dialect.read_call(dialect.endpoints[0], body).steering


@every
@given(body=BODIES)
@FIXED
def test_no_request_raises_anything_but_a_refusal(dialect: Dialect, body: bytes) -> None:
    assert dialect.count_images(body) is None or dialect.count_images(body) >= 0
    for endpoint in dialect.endpoints:
        try:
            call = dialect.read_call(endpoint, body)
        except ProxyError as error:
            assert error.status in (400, 403)
            continue
        prompt = dialect.count_prompt(call, body, "o200k_base", (), len)
        assert prompt is None or prompt.tokens >= 0
        if dialect.ask_for_usage is not None:
            asking = dialect.ask_for_usage(body, call)
            assert asking is None or dialect.read_call(endpoint, asking).model == call.model


@every
@pytest.mark.parametrize("stream", [True, False])
@given(body=BODIES, status=st.sampled_from([200, 400, 503]), cuts=st.lists(st.integers(0, 200)))
@FIXED
def test_no_answer_raises_or_reads_differently_in_other_chunks(
    dialect: Dialect, stream: bool, body: bytes, status: int, cuts: list[int]
) -> None:
    at = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    whole, parts = (
        dialect.open_meter(stream=stream, status=status, text_bytes_max=None) for _ in range(2)
    )
    whole.feed(body)
    for start, end in itertools.pairwise(at):
        parts.feed(body[start:end])
        assert parts.output_measure >= 0 and parts.output_so_far >= 0
    for meter in (whole, parts):
        meter.end()
    assert figures(whole) == figures(parts)
    before = figures(whole)
    whole.end()
    assert figures(whole) == before, "ended once"


@every
def test_nothing_is_known_of_an_answer_of_which_nothing_came(dialect: Dialect) -> None:
    meter = dialect.open_meter(stream=True)
    meter.end()
    assert (meter.usage, meter.model_served, meter.finish_reason) == (None, None, None)
    assert not (meter.answered or meter.complete or meter.error or meter.unreadable)
    assert (meter.output_measure, meter.text_bytes) == (0, 0)


@every
def test_what_cannot_be_read_is_charged_by_its_bytes(dialect: Dialect) -> None:
    meter = dialect.open_meter(stream=True, content_encoding="unheard-of")
    meter.feed(b"x" * 4000)
    meter.end()
    assert meter.unreadable and meter.answered and meter.output_measure >= 1000


@every
def test_an_error_is_told_as_json_and_as_the_last_event(dialect: Dialect) -> None:
    assert ERROR.message in json.dumps(json.loads(dialect.error_body(ERROR)), ensure_ascii=False).replace("\\n", "\n").replace('\\"', '"')  # fmt: skip
    event = dialect.error_event(ERROR, dialect.open_meter(stream=True))
    parser = SSEParser(len(event))
    last = json.loads(parser.feed(event)[-1])
    assert parser.between and last["error"] == json.loads(dialect.error_body(ERROR))["error"]


@every
def test_our_own_error_is_one_to_the_meter_too(dialect: Dialect) -> None:
    """Proxies stand behind each other."""
    meter = dialect.open_meter(stream=True)
    meter.feed(dialect.error_event(ERROR, meter))
    meter.end()
    assert meter.error


@every
def test_limits_are_told_in_fields(dialect: Dialect) -> None:
    assert dialect.limit_fields((), 0) == ()
    limit = limit_of(parse("60 requests/minute"), Scope.KEY, "alice")
    state = LimitState(limit=limit, amount=60, used=58, remaining=2, resets_at_ms=60_000)
    fields = dialect.limit_fields((state,), 1000)
    assert {"60", "2"} <= {value for _, value in fields}
    for name, value in fields:
        assert name == name.lower() and (name + value).isascii() and (name + value).isprintable()


@every
def test_the_usage_filter_passes_all_else(dialect: Dialect) -> None:
    if dialect.usage_filter is None:
        return
    body = b'data: {"x":1}\n\n: note\n\ndata: {"y":'
    for step in (1, 3, len(body)):
        strip = dialect.usage_filter(1024)
        out = b"".join(strip.feed(body[at : at + step]) for at in range(0, len(body), step))
        assert out + strip.end() == body
