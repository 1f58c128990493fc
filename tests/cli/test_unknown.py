"""Names that no record has, told by the commands that sum and show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.ledger.samples import make_record


def test_a_mistyped_name_is_told_from_one_that_used_nothing(
    call: Callable[..., Result], book: Callable[..., Path]
) -> None:
    book(make_record(0, team="research", labels={"cost_center": "4711"}))
    told = call("usage", "--team", "reserch")
    assert told.exit_code == 0
    assert "no record at all is of a team 'reserch'. The nearest is 'research'." in told.stderr
    assert "a key 'x'.\n" in call("usage", "--key", "x").stderr
    assert "Note" not in call("usage", "--team", "research", "--month", "2020-01").stderr


def test_a_label_that_none_of_the_records_has_is_told(
    call: Callable[..., Result], book: Callable[..., Path]
) -> None:
    book(make_record(0, labels={"cost_center": "4711"}))
    told = call("usage", "--by", "label:cost_centre")
    assert told.stderr == "Note: none of these records has a label 'cost_centre'.\n"
    assert call("usage", "--by", "team,label:cost_center").stderr == ""
