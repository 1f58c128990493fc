"""A plain usage object says the same as when it is read with care."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.openai_chat.plain_usage import plain_usage
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


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": COUNTS,
            "completion_tokens": COUNTS,
            "total_tokens": COUNTS,
            "prompt_tokens_details": DETAILS,
            "completion_tokens_details": DETAILS,
            "cost": COUNTS,
            "num_cached_tokens": COUNTS,
        },
    )
)
def test_what_is_plain_says_what_the_careful_way_says(stated: dict[str, object]) -> None:
    found = plain_usage(stated)
    assert found is None or found == read_stated(stated)


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
