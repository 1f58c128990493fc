"""What a comparison came to, as a script reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from proxy.accounting.reconciling.comparison import Reconciled
from tests.accounting.reconciling.books import by_request, held, priced


def test_a_comparison_is_json_of_whole_numbers_and_back(tmp_path: Path) -> None:
    records = [priced(n) for n in range(3)]
    found = held(tmp_path, records, by_request(records[1:]), "openrouter")
    text = msgspec.json.encode(found)
    assert msgspec.json.decode(text, type=Reconciled) == found

    def fractions(value: object) -> list[float]:
        if isinstance(value, dict | list):
            inside = value.values() if isinstance(value, dict) else value
            return [each for one in inside for each in fractions(one)]
        return [value] if isinstance(value, float) else []

    assert fractions(msgspec.json.decode(text)) == []
