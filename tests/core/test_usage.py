"""What a stated usage counts for beside the text and the answer it came with."""

from __future__ import annotations

import msgspec
import pytest

from proxy.core.entries import Opened
from proxy.core.usage import Usage, UsageRecord

WHOLE = Usage(
    input_tokens=10,
    cached_tokens=4,
    cache_write_tokens=0,
    output_tokens=5,
    reasoning_tokens=2,
    upstream_cost_nano=7,
    searches=1,
)
NO_INPUT = msgspec.structs.replace(WHOLE, input_tokens=0, cached_tokens=0)
NO_OUTPUT = msgspec.structs.replace(WHOLE, output_tokens=0, reasoning_tokens=0)
ZEROS = Usage(input_tokens=0, cached_tokens=0, output_tokens=0, upstream_cost_nano=0)


@pytest.mark.parametrize(
    ("usage", "text_tokens", "answered", "input_tokens", "output_tokens"),
    [
        (WHOLE, 5, True, 10, 5),
        (WHOLE, 0, False, 10, 5),
        # A zero beside text is no count.
        (ZEROS, 3, True, None, None),
        (NO_OUTPUT, 3, True, 10, None),
        (NO_INPUT, 3, True, None, 5),
        # Whatever answered, or wrote something, has read its prompt.
        (ZEROS, 0, True, None, 0),
        (NO_INPUT, 0, False, None, 5),
        # An error, or an answer that a filter withheld, may be free.
        (ZEROS, 0, False, 0, 0),
        (NO_OUTPUT, 0, True, 10, 0),
    ],
)
def test_zeros_count_only_where_they_can_be_true(
    usage: Usage, text_tokens: int, answered: bool, input_tokens: int | None, output_tokens: int
) -> None:
    found = usage.beside(text_tokens, answered=answered)
    assert (found.input_tokens, found.output_tokens) == (input_tokens, output_tokens)


def test_the_parts_of_an_unknown_count_are_unknown_and_the_rest_stays() -> None:
    found = NO_OUTPUT.beside(3, answered=True)
    assert (found.reasoning_tokens, found.cached_tokens) == (None, 4)
    assert (found.upstream_cost_nano, found.searches) == (7, 1)
    assert NO_INPUT.beside(3, answered=True).cached_tokens is None
    assert ZEROS.beside(3, answered=True).upstream_cost_nano is None, "nothing of it is known"


@pytest.mark.parametrize(
    ("usage", "states"),
    [
        (Usage(), False),
        (ZEROS, False),
        (Usage(input_tokens=1), True),
        (Usage(output_tokens=1), True),
        (Usage(total_tokens=1), True),
        (Usage(cached_tokens=1), False),
    ],
)
def test_use_is_stated_by_a_count_above_zero(usage: Usage, states: bool) -> None:
    assert usage.states_use is states


@pytest.mark.parametrize("entry", [UsageRecord, Opened])
def test_what_every_entry_has_cannot_be_left_out(entry: type[msgspec.Struct]) -> None:
    values = {"id": "a", "writer": "w", "key_id": "k", "started_at_ms": 1}
    with pytest.raises(msgspec.ValidationError):
        entry(**{name: value for name, value in values.items() if name in entry.__struct_fields__})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(values), type=entry)
