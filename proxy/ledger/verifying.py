"""Verifies the chains of records alone, in one walk over every hash and each seal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from proxy.core.records.chain import FINDINGS_MAX
from proxy.ledger.verification import VerifyStep

PROBLEMS_MAX: Final = FINDINGS_MAX  # a rewritten book has one for each row


class Verified(msgspec.Struct, frozen=True):
    """What was checked, and what is wrong, in the order of the book.

    Without problems every row is as it was booked. `seals_of_other_keys` could not be checked:
    they were made with another key, or no key was given.
    """

    records: int
    seals: int
    seals_of_other_keys: int
    problems: tuple[str, ...]


def walked(step: Callable[[str | None], VerifyStep]) -> Verified:
    """What all steps found, in constant memory. `step` makes the one at a place; None: the first.

    Raises as `step` does.
    """
    records = seals = foreign = 0
    problems: list[str] = []
    place, ended = None, False
    while not ended:
        found = step(place)
        records, seals, foreign = records + found.rows, seals + found.seals, foreign + found.foreign
        problems += [flaw.what for flaw in found.findings[: PROBLEMS_MAX - len(problems)]]
        place, ended = found.next, found.next is None
    return Verified(records, seals, foreign, tuple(problems))
