"""The stored form of a record: its order, its bytes, its hash."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.records.canonical import (
    COLUMNS,
    GENESIS,
    HASH_VERSION,
    HASHED_V1,
    HASHED_V2,
    MEASURE_MAX,
    MEASURES,
    canonical,
    chained,
    chained_rows,
    fitted,
    key_name,
    record_from,
    row_values,
    seal,
)
from tests.ledger.samples import KEY, START_MS, make_record, records

# What interface.md promises to readers of the database and of exports, in its order.
INTERFACE = """
id  seq  writer  origin  kind adjusts  reason  started_at_ms  booked_at_ms  duration_ms  first_byte_ms
key_id  team  labels end_user  tags endpoint  dialect  upstream  upstream_account  model_requested  model_served  stream
status  outcome  finish_reason  upstream_request_id  client_retry_count
input_tokens  cached_tokens  cache_write_tokens  cache_write_long_tokens  output_tokens  reasoning_tokens  audio_input_tokens  audio_output_tokens  searches
input_source  output_source  source  inconsistent  usage_raw  service_tier  bytes_in  bytes_out  chunks
cost_nano  charge_nano  currency  price_version  price_model  price_currency  cost_original_nano  fx_rate  upstream_cost_nano
hash_version  prev_hash  hash
"""


def test_the_columns_are_those_of_the_interface() -> None:
    assert tuple(INTERFACE.split()) == COLUMNS


def test_version_1_of_the_hash_is_fixed_for_ever() -> None:
    """Databases of released versions hold such hashes: a change of order or encoding needs a new
    hash_version, not a new figure here."""
    record = make_record(tags={"feature": "search", "env": "prod"}, stream=True, end_user="模型")
    now = dict(zip(HASHED_V2, row_values(record, 7, START_MS), strict=True))
    values = [1 if name == "hash_version" else now[name] for name in HASHED_V1]
    plain = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    assert chained(GENESIS, values) == hashlib.sha256(bytes(32) + plain).digest()
    assert (
        chained(GENESIS, values).hex()
        == "05425f238c4f09108fe10cd5b15b42b9fa10b4692e20223d4ba825fb88e92987"
    )
    assert (
        seal(KEY, 7, START_MS, chained(GENESIS, values)).hex()
        == "2ca78ba25391cd1fcc3aa70fe3783925b887e593b287559d38a0ddde014864f1"
    )
    assert key_name(KEY) == "d0c48e33115bc19e"


def test_version_2_is_version_1_and_two_more_columns() -> None:
    """Fixed for ever too."""
    record = make_record(cache_write_long_tokens=60, searches=2, stream=True, end_user="模型")
    values = row_values(record, 7, START_MS)
    assert HASH_VERSION == dict(zip(HASHED_V2, values, strict=True))["hash_version"] == 2
    assert [name for name in HASHED_V2 if name not in HASHED_V1] == [
        "cache_write_long_tokens",
        "searches",
    ]
    assert [name for name in HASHED_V2 if name in HASHED_V1] == list(HASHED_V1)
    assert chained(GENESIS, values).hex() == (
        "e01f255ee49419ad6e5189f0dfb36ce86e4667340fcc520b62b0de63f1854b95"
    )


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.text()))
def test_the_canonical_bytes_are_what_the_standard_json_module_writes(
    values: list[str | int | None],
) -> None:
    assert (
        canonical(values) == json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    )


@given(records(3))
def test_a_stored_row_gives_back_its_record(record: msgspec.Struct) -> None:
    values = row_values(record, 1, 2)  # type: ignore[arg-type]
    assert len(values) == len(HASHED_V2)
    assert record_from(dict(zip(HASHED_V2, values, strict=True))) == record


def test_rows_of_a_chain_follow_each_other_from_where_it_ended() -> None:
    made = [make_record(number) for number in range(3)]
    whole, end = chained_rows(made, 7, GENESIS, START_MS)
    first, between = chained_rows(made[:1], 7, GENESIS, START_MS)
    rest, last = chained_rows(made[1:], 8, between, START_MS)
    assert first + rest == whole and last == end == whole[-1][-1]
    prev_hash = GENESIS
    for seq, record, row in zip((8, 9, 10), made, whole, strict=True):
        values = row_values(record, seq, START_MS)
        assert row == [*values, prev_hash, chained(prev_hash, values)]
        prev_hash = chained(prev_hash, values)
    assert chained_rows([], 7, GENESIS, START_MS) == ([], GENESIS)


def test_maps_are_stored_in_one_order() -> None:
    one, other = make_record(labels={"a": "1", "b": "2"}), make_record(labels={"b": "2", "a": "1"})
    assert row_values(one, 1, 2) == row_values(other, 1, 2)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("value", [MEASURE_MAX + 1, -MEASURE_MAX - 1, 2**63, 10**40])
def test_a_number_no_column_can_hold_becomes_unknown_and_flagged(name: str, value: int) -> None:
    record = fitted(make_record(**{name: value}))
    assert getattr(record, name) is None
    assert record.inconsistent


def test_numbers_within_the_bound_stay() -> None:
    record = make_record(input_tokens=MEASURE_MAX, cost_nano=-MEASURE_MAX, output_tokens=0)
    assert fitted(record) is record
