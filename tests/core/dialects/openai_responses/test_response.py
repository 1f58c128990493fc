"""The response itself, bare or wrapped, and what it states."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.dialects.openai_responses.response import (
    is_failure,
    is_of_another_api,
    read_response,
    stated_in,
    word,
)

RAW = msgspec.Raw


@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"response","id":"r"}', b'{"output":[],"id":"r"}', b'{"response":{"object":"response","id":"r"}}',
        b'{"code":0,"data":{"object":"response","id":"r"}}',
    ],
)  # fmt: skip
def test_a_response_is_found_where_it_stands(body: bytes) -> None:
    response = read_response(body)
    assert response is not None and response.is_one and word(response.id) == "r"


@pytest.mark.parametrize(
    "body", [b'{"object":"list"}', b"{}", b'{"data":[1]}', b'{"response":"x"}']
)
def test_what_is_none_is_told(body: bytes) -> None:
    response = read_response(body)
    assert response is not None and not response.is_one
    assert read_response(b"[]") is None and read_response(b"<html>") is None


@pytest.mark.parametrize(
    ("text", "fails"),
    [(b"null", False), (b"", False), (b"{}", False), (b'""', False), (b'{"code":"x"}', True), (b'"no"', True), (b"true", True)],
)  # fmt: skip
def test_only_an_error_that_says_something_is_a_failure(text: bytes, fails: bool) -> None:
    assert is_failure(RAW(text)) is fails


def test_another_apis_answer_is_no_page() -> None:
    assert is_of_another_api(b'{"choices":[{}]}') and is_of_another_api(b'{"output_text":"x"}')
    assert not is_of_another_api(b'{"message":"no such route"}') and not is_of_another_api(b"x")


def test_usage_is_read_with_all_its_parts() -> None:
    stated = stated_in(
        RAW(b'{"input_tokens":5000,"input_tokens_details":{"cached_tokens":2000,"cache_write_tokens":1500},'
            b'"output_tokens":100.0,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":5100,"cost":0.001,"x":1e400}'),
        RAW(b'{"web_search":{"num_requests":2}}'),
    )  # fmt: skip
    assert stated is not None
    usage = stated.usage()
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (5000, 100, 2000)
    assert (usage.cache_write_tokens, usage.reasoning_tokens) == (1500, 64)
    assert usage.upstream_cost_nano == 1_000_000
    assert usage.searches == 2
    assert stated_in(RAW(b"null"), RAW()) is None
