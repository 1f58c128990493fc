"""What is known of a kept answer by default."""

from __future__ import annotations

from proxy.ledger.kept_answers import KeptAnswer
from proxy.ledger.reading import KeptAnswer as FromTheContract


def test_an_answer_waits_for_nothing_by_default() -> None:
    answer = KeptAnswer("id", "alice", None, "upstream", "m", 5)
    assert (answer.waiting, answer.dialect) == (None, "")
    assert FromTheContract is KeptAnswer
