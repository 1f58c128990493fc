"""Usage of this API: the cache beside the input, both kinds of writes, running totals, what is
billed beside."""

from __future__ import annotations

import json

import msgspec
import pytest

from proxy.core.dialects.anthropic_messages.stated import Statement, read_statement
from proxy.core.usage import Usage


def stated(**members: object) -> Statement:
    found = read_statement(msgspec.Raw(json.dumps(members).encode()))
    assert found is not None
    return found


def usage(statement: Statement) -> Usage:
    return statement.usage(cached_inside_input=False)


def test_the_cache_lies_beside_the_input() -> None:
    one = usage(
        stated(
            input_tokens=3, cache_read_input_tokens=2000, cache_creation_input_tokens=100, output_tokens=15,
            cache_creation={"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
            server_tool_use={"web_search_requests": 2}, output_tokens_details={"thinking_tokens": 9},
        )
    )  # fmt: skip
    assert (one.input_tokens, one.cached_tokens, one.cache_write_tokens) == (2103, 2000, 100)
    assert (one.cache_write_long_tokens, one.output_tokens, one.reasoning_tokens) == (60, 15, 9)
    assert one.searches == 2


@pytest.mark.parametrize("later", [0, None])
def test_a_zero_or_a_null_takes_nothing_back(later: int | None) -> None:
    first = stated(input_tokens=3, cache_read_input_tokens=20, output_tokens=1)
    last = stated(input_tokens=later, cache_read_input_tokens=later, output_tokens=15)
    whole = usage(first.merged(last))
    assert (whole.input_tokens, whole.cached_tokens, whole.output_tokens) == (23, 20, 15)


def test_an_input_that_is_stated_again_says_what_of_it_was_cached() -> None:
    first = stated(input_tokens=3, cache_read_input_tokens=20, output_tokens=1)
    last = stated(input_tokens=23, cache_read_input_tokens=0, output_tokens=15)
    whole = usage(first.merged(last))
    assert (whole.input_tokens, whole.cached_tokens) == (23, 0)


def test_what_is_summed_up_is_billed_beside_and_once() -> None:
    beside = {"type": "compaction", "input_tokens": 180, "output_tokens": 35, "cache_read_input_tokens": 20}  # fmt: skip
    own = {"type": "message", "input_tokens": 23, "output_tokens": 10}
    first = stated(input_tokens=23, output_tokens=1, iterations=[beside])
    last = stated(output_tokens=10, iterations=[beside, own, 7, {"type": "compaction"}])
    whole = usage(first.merged(last))
    assert (whole.input_tokens, whole.cached_tokens, whole.output_tokens) == (223, 20, 45)


def test_fast_that_was_served_is_a_tier() -> None:
    assert stated(input_tokens=1, speed="fast", service_tier="standard").own.service_tier == "fast"
    standard = stated(input_tokens=1, speed="standard", service_tier="priority")
    assert standard.own.service_tier == "priority"


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{}", b'{"input_tokens": "x"}', b'{"a": 1'])
def test_what_states_nothing_is_none(text: bytes) -> None:
    assert read_statement(msgspec.Raw(text)) is None


def test_a_number_that_nobody_reads_hides_no_other() -> None:
    found = read_statement(msgspec.Raw(b'{"input_tokens": 7, "output_tokens": 1e400}'))
    assert found is not None
    assert (usage(found).input_tokens, usage(found).output_tokens) == (7, None)
