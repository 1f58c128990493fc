"""JSON objects as text: offsets, names that occur twice, lone surrogates."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.scan import _SOUND, Ambiguous, count, holds, repair_surrogates, walk

DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.text(max_size=6), VALUES, max_size=6),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_each_value_is_found_where_it_stands(
    fields: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(fields, indent=indent, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    spans, start = walk(text, DECODER.decode(text))
    assert {name: json.loads(text[slice(*span)]) for name, span in spans.items()} == fields
    assert text[:start].strip() == b"{"


@given(st.dictionaries(st.text(max_size=6), VALUES, min_size=1, max_size=6), st.booleans())
def test_a_text_without_blanks_is_read_by_its_length_and_says_the_same(
    fields: dict[str, object], ascii_only: bool
) -> None:
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    # A blank before its brace is all that sends the same object the longer way.
    spans, start = walk(b" " + text, DECODER.decode(b" " + text))
    shifted = {name: (first - 1, end - 1) for name, (first, end) in spans.items()}
    assert walk(text, DECODER.decode(text)) == (shifted, start - 1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "é", "", '\\"']), st.sampled_from(["1", '"1"', "[ 1]", '{"a":1}'])
        ),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from(["", " ", "  "]),
    st.sampled_from(["", " "]),
)
def test_no_length_hides_a_name_that_occurs_twice(
    pairs: list[tuple[str, str]], blank: str, before: str
) -> None:
    text = before + "{" + ",".join(f'"{name}":{blank}{value}' for name, value in pairs) + "}"
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        with pytest.raises(Ambiguous):
            walk(text.encode(), DECODER.decode(text))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "[1]", '"a"', '{"a":1}'])
        ),
        min_size=2,
        max_size=6,
    )
)
def test_a_name_that_occurs_twice_is_found_whatever_its_values(
    pairs: list[tuple[str, str]],
) -> None:
    text = ("{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}").encode()
    names = [name for name, _ in pairs]
    if len(set(names)) == len(names):
        assert set(walk(text, DECODER.decode(text))[0]) == set(names)
    else:
        with pytest.raises(Ambiguous):
            walk(text, DECODER.decode(text))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"\\u0061":1}',
        b'{"\\u0061":1,"a":2}',
        b'{"a":{"a":1},"a":{"a":1}}',
        b'{"a":1 ,\n"a" :1}',
    ],
)
def test_an_escaped_spelling_is_the_same_name(text: bytes) -> None:
    with pytest.raises(Ambiguous) as found:
        walk(text, DECODER.decode(text))
    assert found.value.name == "a"


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        (b'"\\ud83d"', b'"\\ufffd"'),
        (b'"x\\udc00y"', b'"x\\ufffdy"'),
        (b'"\\ud83d\\ud83d\\ude00"', b'"\\ufffd\\ud83d\\ude00"'),
        (b'"\\ud83d\\ude00"', None),
        (b'"\\\\ud83d"', None),
        (b'"plain"', None),
    ],
)
def test_a_lone_surrogate_is_replaced_and_nothing_moves(
    text: bytes, repaired: bytes | None
) -> None:
    assert repair_surrogates(text) == repaired
    assert repaired is None or len(repaired) == len(text)


@given(
    st.lists(
        st.sampled_from(
            ["\\ud83d", "\\ude00", "\\ud83d\\ude00", "\\\\", "\\n", "\\u00e9", "x", "ud83d"]
        ),
        max_size=12,
    ),
    st.sampled_from([0, 1, 16_382, 16_383, 16_384, 16_385, 40_000]),
)
def test_surrogates_are_replaced_alike_wherever_a_step_ends(tokens: list[str], before: int) -> None:
    """Each step ends behind so many escapes, never inside of one or of a pair."""
    text = "".join(tokens).encode()
    ahead = rb"\n" * before
    alone = repair_surrogates(text)
    assert repair_surrogates(ahead + text) == (None if alone is None else ahead + alone)
    decoded = json.loads(f'"{"".join(tokens)}"')
    is_lone = any("\ud800" <= sign <= "\udfff" for sign in decoded)
    assert (alone is not None) is is_lone


def test_no_step_of_a_repair_goes_on_for_long() -> None:
    step = _SOUND.match(rb"\u00e9" * 100_000)
    assert step is not None and step.end() == len(rb"\u00e9") * 16_384


def test_a_large_text_is_looked_through_in_steps_without_a_gap() -> None:
    text = b"x" * (2**20 - 1) + b'\\"' + b"y" * 2**20 + b'\\"'
    assert count(text, b'\\"') == 2
    assert count(text, b'"') == 2
    assert holds(text, b'x\\"y')
    assert not holds(text, b'\\"x')
    assert count(b"", b"x") == 0
