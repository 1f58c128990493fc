"""The book in pages: every row of a stretch once and in order, whatever the page size and whatever
is booked meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.ledger import LedgerError, Reader
from proxy.ledger.reading import Stretch
from tests.ledger.conftest import Kind
from tests.ledger.ledgers import BookUnderTest
from tests.ledger.samples import START_MS, make_id, make_record

# Not in the order of their seqs, as exchanges that run side by side end: seq 1 started last.
STARTS_MS = [START_MS + offset for offset in (9000, 0, 1000, 5000, 5000, 2000, 8000, 1)]


def booked(book: BookUnderTest) -> Reader:
    book.book(*(make_record(n, started_at_ms=ms) for n, ms in enumerate(STARTS_MS)))
    return book.reader()


@pytest.fixture(scope="module")
def eight(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The reader of a book of eight records, which is not changed."""
    with kind(tmp_path_factory.mktemp("eight")) as book:
        yield booked(book)


def seqs(reader: Reader, stretch: Stretch, page_seqs: int = 1000) -> list[int]:
    return [row[1] for page in reader.pages(stretch, page_seqs) for row in page.rows]  # type: ignore[misc]


def ends(stretch: Stretch) -> tuple[int, int]:
    return stretch.after, stretch.through


@pytest.mark.parametrize("page_seqs", [1, 2, 3, 7, 8, 1000])
@pytest.mark.parametrize(
    ("stretch", "expected"),
    [
        (Stretch(through=8), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Stretch(through=5), [1, 2, 3, 4, 5]),
        (Stretch(through=0), []),
        (Stretch(after=3, through=6), [4, 5, 6]),
        (Stretch(after=8, through=8), []),
        (Stretch(after=9, through=8), []),
        (Stretch(through=8, from_ms=START_MS + 5000), [1, 4, 5, 7]),
        (Stretch(through=8, to_ms=START_MS + 5000), [2, 3, 6, 8]),
        (Stretch(through=8, from_ms=START_MS + 1, to_ms=START_MS + 5001), [3, 4, 5, 6, 8]),
        (Stretch(after=3, through=7, from_ms=START_MS + 1, to_ms=START_MS + 5001), [4, 5, 6]),
        (Stretch(through=8, from_ms=START_MS + 9001), []),
        (Stretch(through=3, from_ms=START_MS + 2000, to_ms=START_MS + 8001), []),
    ],
)
def test_each_row_of_the_stretch_once_and_in_order(
    eight: Reader, stretch: Stretch, expected: list[int], page_seqs: int
) -> None:
    assert seqs(eight, stretch, page_seqs) == expected
    near = eight.narrowed(stretch)
    assert seqs(eight, near, page_seqs) == expected
    assert near.after >= near.through or (
        stretch.after <= near.after < near.through <= stretch.through
    )
    assert expected or near.after >= near.through
    if ends(stretch) == (0, 8) and expected:
        assert ends(near) == (expected[0] - 1, expected[-1])


def test_the_last_page_ends_where_the_stretch_ends(eight: Reader) -> None:
    """So that a reader who goes on from there misses nothing, whichever rows the page had."""
    found = list(
        eight.pages(Stretch(after=1, through=8, from_ms=START_MS + 1000, to_ms=START_MS + 3000), 3)
    )
    assert [page.upto_seq for page in found] == [4, 7, 8]
    assert [[row[0] for row in page.rows] for page in found] == [[make_id(2)], [make_id(5)], []]


def test_a_book_that_does_not_reach_that_far_is_not_the_one(eight: Reader) -> None:
    with pytest.raises(LedgerError, match=r"ends at seq 8, before 9.*older copy"):
        eight.narrowed(Stretch(through=9))


def test_times_beyond_any_clock_are_no_error(eight: Reader) -> None:
    """A database holds no number beyond 64 bits, and a person may ask with one."""
    far = 10**25
    everything = Stretch(through=8, from_ms=-far, to_ms=far)
    assert eight.narrowed(everything) == everything
    assert len(seqs(eight, everything)) == 8
    assert eight.label_names(everything) == ["cost_center"]
    for nothing in (Stretch(through=8, from_ms=far), Stretch(through=8, to_ms=-far)):
        assert ends(eight.narrowed(nothing)) == (8, 8)
        assert seqs(eight, nothing) == []


def test_what_corrects_records_is_found_wherever_it_is_booked(
    ledgers: BookUnderTest,
) -> None:
    reader = booked(ledgers)
    ledgers.book(
        make_record(0, started_at_ms=STARTS_MS[0], output_tokens=1),
        make_record(8),
        make_record(0, started_at_ms=STARTS_MS[0], output_tokens=2),
    )
    stretch = Stretch(through=8)
    found = list(reader.pages(stretch, 4, corrected=True))
    assert [[(row[1], row[5]) for row in page.corrections] for page in found] == [
        [(9, make_id(0)), (11, make_id(0))],
        [],
    ]
    assert [page.corrections for page in reader.pages(stretch, 4)] == [(), ()]


def test_what_is_booked_meanwhile_is_not_in_it(ledgers: BookUnderTest) -> None:
    reader, found = booked(ledgers), []
    for page in reader.pages(Stretch(through=reader.head()), 3):
        ledgers.book(make_record(reader.head()))
        found += [row[1] for row in page.rows]
    assert found == [1, 2, 3, 4, 5, 6, 7, 8]
    assert reader.head() == 11


def test_the_head_of_an_empty_book_is_zero(ledgers: BookUnderTest) -> None:
    assert ledgers.reader().head() == 0
