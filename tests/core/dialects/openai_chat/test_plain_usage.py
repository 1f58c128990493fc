"""A plain usage object says the same as when it is read with care."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.plain_usage import plain_usage, proved_usage
from proxy.core.dialects.stated import read_stated

COUNTS = st.sampled_from([0, 1, 7, 12, 700, 2**53, 2**53 + 1, -1, 1.5, 7.0, "12", None, True, {}])
DETAILS = st.none() | st.dictionaries(
    st.sampled_from(
        "cached_tokens audio_tokens text_tokens reasoning_tokens accepted_prediction_tokens"
        " rejected_prediction_tokens image_tokens cache_write_tokens n".split()
    ),
    COUNTS,
    max_size=4,
)


OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "total_tokens": COUNTS,
        "prompt_tokens_details": DETAILS | COUNTS,
        "completion_tokens_details": DETAILS | COUNTS,
        "cost": COUNTS,
        "num_cached_tokens": COUNTS,
    },
)


@given(OBJECTS)
def test_what_is_plain_says_what_the_careful_way_says(stated: dict[str, object]) -> None:
    found = plain_usage(stated)
    assert found is None or found == read_stated(stated)


@given(OBJECTS, st.booleans(), st.booleans())
@example(
    {"prompt_tokens": 700, "completion_tokens": 12, "prompt_tokens_details": 0}, True, True
)  # no details, and kept for audits
@example(
    {"prompt_tokens": 12, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 700}},
    True,
    True,
)
@example(
    {"prompt_tokens": 12, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 7}},
    True,
    False,
)
def test_what_is_proved_at_once_is_what_the_careful_way_proves(
    stated: dict[str, object], adds_up: bool, inside: bool
) -> None:
    inputs, outputs = stated.get("prompt_tokens"), stated.get("completion_tokens")
    if adds_up and type(inputs) is int and type(outputs) is int:
        stated = {**stated, "total_tokens": inputs + outputs}
    found = proved_usage(json.dumps(stated).encode(), inside)
    if found is not None:
        careful = read_stated(stated)
        assert careful is not None
        usage = careful.usage(cached_inside_input=inside)
        assert found == usage
        assert json.dumps(found.raw) == json.dumps(usage.raw), "in the same order"


def test_openais_object_is_proved_at_once() -> None:
    details = b'"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":null'
    stated = b'{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17,%b}' % details
    found = proved_usage(stated, True)
    assert found is not None
    assert (found.input_tokens, found.cached_tokens, found.output_tokens) == (12, 4, 5)


def test_openais_object_is_plain() -> None:
    stated = {
        "prompt_tokens": 12,
        "completion_tokens": 5,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2, "rejected_prediction_tokens": 0},
    }
    found = plain_usage(stated)
    assert found is not None
    assert (found.cached_tokens, found.reasoning_tokens, found.raw) == (4, 2, stated)
