"""Numbers with two meanings, and the ones beside them that tell which is meant."""

from __future__ import annotations

import pytest

from proxy.core.reconciling.decimal_marks import DecimalMark

# What files usually have, the numbers in their order, and whether a comma is the mark in the last.
TOLD = [
    (".", ["0.5", "1,234"], False),
    (".", ["1,5", "1,234"], True),
    (".", ["0,005", "1.234"], True),
    (".", ["1,234.56", "1,234"], False),
    (".", ["1.234,56 €", "1.234"], True),
    (".", ["1 234,5", "1,234"], True),
    (",", ["12.5", "1.234"], False),
    (",", ["1.234.567", "1.234"], True),
    (",", ["3.625e-9", "1.234"], False),
    (",", ["abc", "1,5", "1.234"], True),
]


@pytest.mark.parametrize(("usual", "numbers", "comma"), TOLD)
def test_a_number_without_a_choice_tells_of_those_that_have_one(
    usual: str, numbers: list[str], comma: bool
) -> None:
    mark = DecimalMark(usual)
    assert [mark.comma(text, line) for line, text in enumerate(numbers, 2)][-1] is comma
    mark.check()
    later = DecimalMark(usual)
    for text in numbers:
        later.look(text)
    assert later.comma(numbers[-1], 2) is comma


# Each is refused, with the first number that may be read wrongly.
DOUBTFUL = [
    (".", ["1,234"], "'1,234' on line 2"),
    (".", ["1,234", "1,5"], "'1,234' on line 2"),
    (".", ["1.234", "0,5"], "'1.234' on line 2"),
    (",", ["7", "1.234"], "'1.234' on line 3"),
    (",", ["1.234", "0.5"], "'1.234' on line 2"),
    (",", ["1,5", "1.234", "2.5"], "'1.234' on line 3"),
    (".", ["1.5", "0.25", "1.234", "2,5"], "'1.234' on line 4"),
]


@pytest.mark.parametrize(("usual", "numbers", "said"), DOUBTFUL)
def test_where_nothing_tells_or_two_tell_otherwise_it_is_refused(
    usual: str, numbers: list[str], said: str
) -> None:
    mark = DecimalMark(usual)
    with pytest.raises(ValueError, match="two meanings: thousands, or a fraction") as caught:
        for line, text in enumerate(numbers, 2):
            mark.comma(text, line)
        mark.check()
    assert said in str(caught.value) and 'decimal: ","' in str(caught.value)


def test_what_is_usual_is_not_doubted() -> None:
    for usual, text in ((".", "1.234"), (",", "1,234"), (".", "1234"), (",", "0")):
        mark = DecimalMark(usual)
        assert mark.comma(text, 2) is (usual == ",")
        mark.check()


def test_a_mark_that_is_told_holds_for_all() -> None:
    mark = DecimalMark(".", ",")
    assert all(mark.comma(text, 2) for text in ("1,234", "1.234", "0.5"))
    mark.check()
