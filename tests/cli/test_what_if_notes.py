"""Notes on names that nothing has, for a ledger without prices or of a later program."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from proxy.cli.what_if_notes import notes
from proxy.core.pricing.pricelist import PriceRow
from proxy.core.pricing.scenario import Scenario
from proxy.ledger import connect_reader
from tests.accounting.test_what_if import reader_of
from tests.ledger.samples import make_record, open_book

UTC = ZoneInfo("UTC")
TIERED = PriceRow(model="*", currency="USD", input="1", service_tier="Batch")


def test_the_rows_of_the_scenario_say_which_tiers_there_are(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, make_record(0))
    assert notes(reader, UTC, Scenario(tier="batch", rows=(TIERED,)), [], [], []) == []
    [said] = notes(reader, UTC, Scenario(tier="flex", rows=(TIERED,)), [], [], [])
    assert said == "no price row is for the tier 'flex', so the usual prices hold."


def test_without_kept_terms_every_tier_is_unknown_and_terms_that_cannot_be_read_say_nothing(
    tmp_path: Path,
) -> None:
    connection, _ = open_book(tmp_path / "ledger.db")
    reader = connect_reader("sqlite:ledger.db", tmp_path)
    assert len(notes(reader, UTC, Scenario(tier="batch"), [], [], [])) == 1
    connection.execute("INSERT INTO price_versions VALUES ('v', 1, x'7b7d')")
    connection.close()
    assert notes(reader, UTC, Scenario(tier="batch"), [], [], []) == []
