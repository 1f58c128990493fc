"""What PostgreSQL has no room for becomes something that it has room for, and nothing else does."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.limits.credit import Credit
from proxy.core.records.canonical import MEASURE_MAX, row_values
from proxy.core.usage import UsageRecord
from proxy.ledger.postgresql.texts import clean, cleaned, storable
from tests.ledger.samples import make_record, records

ODD = st.text(st.characters(categories=("L", "Cc", "Cs", "So")) | st.just("\0"), max_size=6)


@given(ODD)
def test_clean_text_is_utf_8_without_nul_and_else_the_same(text: str) -> None:
    found = clean(text)
    assert "\0" not in found
    found.encode()
    assert clean(found) == found
    if "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text):
        assert found == text


@given(records(0))
def test_a_usual_record_is_stored_as_it_is(record: UsageRecord) -> None:
    assert storable(record) is record


@given(st.data())
def test_any_text_and_number_is_made_storable_once(data: st.DataObject) -> None:
    odd = data.draw(ODD)
    number = data.draw(st.integers(-(2**80), 2**80))
    for name in UsageRecord.__struct_fields__:
        value = getattr(make_record(0), name)
        if isinstance(value, bool):
            continue
        changes: object = (
            number if isinstance(value, int) else {odd: odd} if name in ("labels", "tags") else odd
        )
        if isinstance(value, str | int | dict) and name not in ("usage_raw",):
            if name in ("outcome", "input_source", "output_source", "source"):
                continue
            found = storable(msgspec.structs.replace(make_record(0), **{name: changes}))
            assert storable(found) is found
            for stored in row_values(found, 1, 1):
                if isinstance(stored, int):
                    assert abs(stored) <= MEASURE_MAX
                elif isinstance(stored, str):
                    assert "\0" not in stored
                    stored.encode()


def test_a_number_out_of_bounds_flags_its_record() -> None:
    found = storable(make_record(0, bytes_out=2**63, chunks=3))
    assert (found.bytes_out, found.chunks, found.inconsistent) == (MEASURE_MAX, 3, True)


def test_the_texts_of_any_struct_are_cleaned() -> None:
    credit = Credit("a\0", "l", 5, 6, reason="\0")
    assert cleaned(credit) == Credit("a\ufffd", "l", 5, 6, reason="\ufffd")
