"""Terms that records name are in the book, and are those that their names say."""

from __future__ import annotations

import hashlib

import pytest

from proxy.core.records.chain import FINDINGS_MAX
from proxy.ledger.price_check import (
    Beside,
    Named,
    changed_terms,
    read_place,
    records_step,
    with_terms,
)

BESIDE = Beside({"v0"}, {("u", "m", "served")})
GOOD = hashlib.sha256(b"terms").hexdigest()[:16]


@pytest.mark.parametrize(
    ("version", "terms", "is_wrong"),
    [
        (GOOD, b"terms", False),
        (GOOD, b"other", True),
        ("", b"terms", True),
        (GOOD, "terms", True),
        (5, b"terms", True),
    ],
)
def test_terms_stand_under_the_beginning_of_their_digest(
    version: object, terms: object, is_wrong: bool
) -> None:
    assert bool(changed_terms([(version, terms)])) is is_wrong


def named(seq: int, version: str | None = "v0", served: str | None = "served") -> Named:
    return version, "u", "m", served, seq, f"id-{seq}"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (named(7), None),
        (named(7, None, None), None),
        (named(7, "v"), "price version 'v': its terms are missing"),
        (named(7, served="other"), "'u' served 'other' for 'm', and strict limits do not know it"),
    ],
)
def test_what_a_record_names_is_beside_it(row: Named, told: str | None) -> None:
    found = records_step(read_place(None, 0), BESIDE, [row], 9).findings
    assert [(flaw.seq, flaw.id) for flaw in found] == ([] if told is None else [(7, "id-7")])
    assert told is None or (found[0].what.startswith(told) and "first record is" in found[0].what)


def test_what_is_missing_is_told_once() -> None:
    first = records_step(read_place(None, 0), BESIDE, [named(7, "v"), named(8, "v")], 100)
    assert [flaw.seq for flaw in first.findings] == [7]
    at = read_place(first.next, 0)
    assert at.after == 100
    more = records_step(at, BESIDE, [named(101, "v"), named(102, "w", "other")], None)
    assert ([flaw.seq for flaw in more.findings], more.next) == ([102, 102], None)


def test_the_first_step_has_the_terms_too() -> None:
    step = records_step(read_place(None, 0), BESIDE, [named(7, "v")], None)
    whole = with_terms(step, [(GOOD, b"terms"), (GOOD, b"other")])
    assert (whole.rows, whole.found, len(whole.findings)) == (2, 2, 2)


def test_a_place_does_not_grow_with_what_is_found() -> None:
    many = [named(n, f"v{n}") for n in range(1, 10 * FINDINGS_MAX)]
    step = records_step(read_place(None, 0), BESIDE, many, 1)
    assert (step.found, len(step.findings)) == (len(many), FINDINGS_MAX)
    assert len(read_place(step.next, 0).told) == FINDINGS_MAX
