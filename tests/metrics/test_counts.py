"""The samples that one set of labels gives."""

from __future__ import annotations

from proxy.core.usage import Source
from proxy.metrics.counts import LedgerCounts, ModelCounts
from proxy.metrics.families import Families


def samples(counts: LedgerCounts | ModelCounts) -> dict[tuple[str, ...], float]:
    families = Families()
    counts.collect(families)
    return {
        (sample.name.removeprefix("tollkeeper_"), *sample.labels.values()): sample.value
        for family in families.all()
        for sample in family.samples
    }


def test_money_is_divided_once_and_at_the_end() -> None:
    counts = LedgerCounts(("t", "k", "m", "u"), ModelCounts(("u", "m")))
    counts.endings[None, "client_aborted"] = 2
    counts.input_tokens = 7
    counts.charge_nano["USD"] = 1_500_000_000
    found = samples(counts)
    assert found["requests_total", "t", "k", "m", "u", "none", "client_aborted"] == 2
    assert found["input_tokens_total", "t", "k", "m", "u"] == 7
    assert found["charge_total", "t", "k", "m", "u", "USD"] == 1.5
    assert not any(name == "cost_total" for name, *_ in found), "no sample for what has no price"


def test_every_source_has_a_sample_from_the_start() -> None:
    counts = ModelCounts(("u", "m"))
    counts.sources[Source.COUNTED] += 1
    found = samples(counts)
    assert counts.model == "m"
    assert {name[3]: value for name, value in found.items() if name[0] == "usage_source_total"} == {
        source.value: float(source is Source.COUNTED) for source in Source
    }
