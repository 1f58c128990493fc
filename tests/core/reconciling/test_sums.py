"""What lines and requests add up to."""

from __future__ import annotations

from proxy.core.reconciling.lines import VendorLine, own_line
from proxy.core.reconciling.moments import Width
from proxy.core.reconciling.sums import BilledSums, OwnSums, known_sum
from tests.ledger.samples import make_record


def line(**says: object) -> VendorLine:
    return VendorLine(1, 0, Width.MOMENT, **says)  # type: ignore[arg-type]


def test_what_no_line_states_is_not_known() -> None:
    sums = BilledSums()
    sums.add(line(amount_nano=5))
    sums.add(line(output_tokens=3))
    assert (sums.amount_nano, sums.input_tokens, sums.output_tokens) == (5, None, 3)
    assert (sums.lines, sums.without, known_sum([None, None])) == (2, 1, None)


def test_the_same_part_of_a_request_twice_is_a_repetition() -> None:
    sums = BilledSums()
    for item, amount in (("input", 5), ("output", 5), ("input", 5), ("input", 6)):
        sums.add(line(id="a", item=item, amount_nano=amount), compared=True)
    assert (sums.again, sums.again_nano, sums.amount_nano) == (1, 5, 21)


def test_sums_of_sums_are_sums() -> None:
    parts = [BilledSums(), BilledSums()]
    whole = BilledSums()
    for n in range(6):
        for sums in (parts[n % 2], whole):
            sums.add(line(amount_nano=n, requests=1, item=f"i{n % 3}", unit_nano=1, tier="x"))
    parts[0].merge(parts[1])
    assert (parts[0].amount_nano, parts[0].requests, parts[0].items, parts[0].unit_nano) == (
        whole.amount_nano,
        whole.requests,
        whole.items,
        whole.unit_nano,
    )
    own, other = OwnSums(), OwnSums()
    own.add(own_line(make_record(cost_nano=3, currency="USD"), "USD"))
    other.add(own_line(make_record(1, cost_nano=None), "USD"))
    own.merge(other)
    assert (own.requests, own.cost_nano, own.unpriced, own.input_tokens) == (2, 3, 1, 200)
