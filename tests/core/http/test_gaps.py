"""Lines with gaps say what they would say if they were written with the values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.http.gaps import Template, mark

_TEXT = st.binary(max_size=6).map(lambda data: data.replace(b"\0", b"%"))


@given(st.lists(st.tuples(_TEXT, st.integers(0, 3)), max_size=6), _TEXT, st.tuples(*[_TEXT] * 4))
def test_the_values_stand_where_their_marks_were(
    parts: list[tuple[bytes, int]], end: bytes, values: tuple[bytes, ...]
) -> None:
    written = b"".join([text + mark(number) for text, number in parts]) + end
    expected = b"".join([text + values[number] for text, number in parts]) + end
    assert Template(written).filled(values) == expected
