"""Payloads: an ended exchange is always encoded, within its room, whatever strange things it
carries."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from proxy.core.records.canonical import row_values
from proxy.core.usage import UsageRecord
from proxy.journal.codec import (
    ANSWER_BYTES_MAX,
    decode_close,
    decode_open,
    encode_close,
    encode_entry,
    id_of,
)
from proxy.journal.frames import PAYLOAD_BYTES_MAX
from tests.journal.builders import marked, opened, record, voided
from tests.ledger.samples import records
from tests.support.effort import examples


def circular() -> dict[str, object]:
    loop: dict[str, object] = {}
    loop["again"] = loop
    return loop


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"usage_raw": {f"n{number}": number for number in range(5000)}},
        {"usage_raw": {"odd": 1.5, "deep": {"a": [1, 2]}}},
        {"usage_raw": {"broken \udc80": 1}},
        {"usage_raw": {"no JSON": object()}},
        {"usage_raw": circular()},
        {
            "model_served": "\x01" * 100_000,
            "finish_reason": "\x01" * 100_000,
            "upstream_request_id": "\x01" * 100_000,
            "service_tier": "\x01" * 100_000,
        },
        {"upstream_request_id": "raw \udcff byte", "usage_raw": None},
        {"upstream_request_id": "\udcff" * 5000},
        dict.fromkeys(
            (
                "input_tokens",
                "cached_tokens",
                "output_tokens",
                "reasoning_tokens",
                "bytes_in",
                "bytes_out",
                "cost_nano",
                "charge_nano",
            ),
            2**63 - 1,
        ),
    ],
    ids=lambda changes: ",".join(changes) or "plain",
)
def test_a_record_is_encoded_within_the_room_its_opening_announced(
    changes: dict[str, object],
) -> None:
    room = len(encode_entry(opened("a"))) + ANSWER_BYTES_MAX
    payload, written = encode_close(record("a", **changes), room)
    assert len(payload) <= room
    again = decode_close(payload)
    assert row_values(written, 0, 0) == row_values(again, 0, 0), "what is booked without reading it"
    charged = {
        name: changes.get(name, getattr(record("a"), name))
        for name in ("id", "input_tokens", "output_tokens", "key_id", "outcome")
    }
    assert {name: getattr(again, name) for name in charged} == charged, (
        "nothing that is charged by gives way"
    )


def test_an_ordinary_record_comes_back_equal() -> None:
    payload, written = encode_close(record("a"), PAYLOAD_BYTES_MAX)
    assert decode_close(payload) == written == record("a")


@given(records(1))
@settings(max_examples=examples(300))
def test_a_record_is_booked_the_same_whether_it_is_read_back_or_not(given: UsageRecord) -> None:
    payload, written = encode_close(given, PAYLOAD_BYTES_MAX)
    assert row_values(decode_close(payload), 1, 2) == row_values(written, 1, 2)


def test_broken_utf8_keeps_no_exchange_out() -> None:
    payload = encode_entry(opened("a", end_user="b\udcfcser", tags={"t\udc80": "v"}, labels={}))
    assert decode_open(payload).end_user == "b\ufffdser"
    assert decode_open(payload).tags == {"t\ufffd": "v"}


def test_the_id_is_read_alone() -> None:
    assert [id_of(encode_entry(entry)) for entry in (opened('a"b'), marked("c"), voided("d"))] == [
        'a"b',
        "c",
        "d",
    ]
