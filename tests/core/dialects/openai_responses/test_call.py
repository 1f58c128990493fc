"""A request for a response as its upstream reads it."""

from __future__ import annotations

import json

import pytest

from proxy.core.dialects.contract import Call
from proxy.core.dialects.openai_responses.call import read_call
from proxy.core.errors import ProxyError

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAUCAIAAAA7jDsBAAAA" + "A" * 400


def read(**members: object) -> Call:
    return read_call(
        "/v1/responses", json.dumps({"model": "m", "input": "Hi.", **members}).encode()
    )


def test_what_it_asks_for() -> None:
    call = read(
        stream=True,
        max_output_tokens=64,
        service_tier="flex",
        safety_identifier="u7",
        user="old",
        metadata={"feature": "x"},
    )
    assert (call.model, call.stream, call.cap, call.answers) == ("m", True, 64, 1)
    assert (call.service_tier, call.safety_identifier, call.user) == ("flex", "u7", "old")
    assert call.metadata == {"feature": "x"}
    assert (call.include_usage, call.media, call.steering) == (True, False, ())
    assert read(max_output_tokens="64").cap is None and read(max_output_tokens=None).cap is None


@pytest.mark.parametrize(
    ("members", "steering"),
    [
        ({"prompt": {"id": "pmpt_1"}}, ("prompt",)), ({"prompt": None}, ()), ({"models": ["a"]}, ("models",)),
        ({"moderation": {"model": "big"}}, ("moderation",)), ({"tools": [{"type": "image_generation", "model": "gpt-image"}]}, ("tools",)),
        ({"tools": [{"type": "function", "name": "f", "parameters": {"properties": {"model": {}}}}]}, ()),
        ({"provider": {"order": ["x"]}}, ("provider",)), ({"client_metadata": {"x-turn": "1"}, "reasoning": {"effort": "low"}}, ()),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {}}}}, ()), ({"conversation": {"id": "conv_1"}}, ()),
    ],
)  # fmt: skip
def test_what_may_choose_another_model_is_named(
    members: dict[str, object], steering: tuple[str, ...]
) -> None:
    assert read(**members).steering == steering


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","max_output_tokens":5,"max_output_tokens":9}', b'{"model":"m","Background":true}', b'{"model":"m","maxOutputTokens":5}',
        b'{"model":"m","previousResponseId":"r"}', b'{"model":"m","stream":1}', b'{"input":"x","prompt":{"id":"p"}}', b'{"model":"m","Prompt":{"id":"p"}}',
    ],
)  # fmt: skip
def test_what_two_readers_take_differently_is_refused(body: bytes) -> None:
    with pytest.raises(ProxyError) as refused:
        read_call("/v1/responses", body)
    assert refused.value.status == 400


def test_a_picture_that_is_proved_counts_by_its_own_rule() -> None:
    part = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "low"}
    call = read(
        input=[{"role": "user", "content": [part, {"type": "input_text", "text": "What is it?"}]}]
    )
    body = json.dumps(
        {
            "model": "m",
            "input": [
                {"role": "user", "content": [part, {"type": "input_text", "text": "What is it?"}]}
            ],
        }
    ).encode()
    assert len(call.pictures) == 1 and call.media
    (span,) = call.inlined
    assert body[slice(*span)].decode() == PNG
    assert call.prompt_bytes == len(body) - len(PNG)
    assert not read(
        input=[{"role": "user", "content": [{"type": "input_text", "text": part["image_url"]}]}]
    ).pictures


def test_the_items_that_it_names() -> None:
    call = read(
        input=[{"role": "user", "content": "x"}, {"type": "item_reference", "id": "rs_1"}],
        tools=[{"type": "code_interpreter", "container": "cntr_1"}],
        store=False,
    )
    assert (call.items, call.references, call.store) == (("rs_1", "cntr_1"), ("rs_1",), False)
    assert read().store and read(store=None).store and read().items == ()
    for members in (
        b'"input":[{"id":"a","id":"b"}]',
        b'"tools":[{"container":"a","container":"b"}]',
    ):
        with pytest.raises(ProxyError) as refused:
            read_call("/v1/responses", b'{"model":"m",%b}' % members)
        assert refused.value.code == "ambiguous_body"
        assert refused.value.param == members[1:6].decode()
