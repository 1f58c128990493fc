"""A record as an event: what the specification asks for, and what OpenMeter's API takes."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.accounting.export.cloudevents import CloudEvents, batch
from proxy.core.records.canonical import chained_rows
from proxy.core.usage import UsageRecord
from tests.ledger.samples import START_MS, make_id, make_record, records
from tests.support.effort import examples

# The specification's attributes: printable text that is not empty; `time` as RFC 3339 has it.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
URI_REFERENCE = re.compile(r"[\w.~!$&'()*+,;=:@/?#%-]+", re.ASCII)


def rows_of(*some: UsageRecord) -> list[Any]:
    rows, _ = chained_rows(some, 0, bytes(32), START_MS)
    return list(rows)


def events_of(*some: UsageRecord, **more: Any) -> list[dict[str, Any]]:
    made = CloudEvents(
        **{"source": "tollkeeper", "type": "tollkeeper.record", "subject": "team", **more}
    )
    found: list[dict[str, Any]] = json.loads(batch([made.event(row) for row in rows_of(*some)]))
    return found


def test_an_event_has_the_record_and_its_attributes() -> None:
    [event] = events_of(make_record(1, cost_nano=1_500_000_000, currency="USD", end_user="e" * 32))
    data = event.pop("data")
    assert event == {
        "specversion": "1.0",
        "id": make_id(1),
        "source": "tollkeeper/w0",
        "type": "tollkeeper.record",
        "subject": "research",
        "time": "2026-11-01T02:26:40.000+00:00",
        "datacontenttype": "application/json",
    }
    assert (data["seq"], data["cost"], data["cost_nano"]) == (1, "1.50", 1_500_000_000)
    assert data["usage_raw"] == {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
    }


def test_the_subject_is_never_empty() -> None:
    assert events_of(make_record(1, team=None))[0]["subject"] == "alice"
    assert events_of(make_record(1, team=""))[0]["subject"] == "alice"
    assert events_of(make_record(1), subject="end_user")[0]["subject"] == "alice"
    assert events_of(make_record(1, end_user="e"), subject="end_user")[0]["subject"] == "e"
    assert events_of(make_record(1), subject="key")[0]["subject"] == "alice"


def test_an_adjustment_is_an_event_of_the_same_type() -> None:
    late = make_record(2, kind="adjustment", adjusts=make_id(1), reason="rerated", cost_nano=-5)
    one, other = events_of(make_record(1), late)
    assert one["type"] == other["type"] and other["data"]["kind"] == "adjustment"
    assert other["data"]["cost_nano"] == -5


def test_a_writers_name_is_escaped_where_a_reference_needs_it() -> None:
    [event] = events_of(make_record(1, writer="w ü/1"))
    assert event["source"] == "tollkeeper/w%20%C3%BC%2F1"


@settings(max_examples=examples(100), deadline=None)
@given(st.tuples(records(0), records(1), records(2)))
def test_any_record_makes_an_event_that_receivers_take(some: tuple[UsageRecord, ...]) -> None:
    events = events_of(*some)
    assert [event["id"] for event in events] == [record.id for record in some]
    for event, record in zip(events, some, strict=True):
        assert TIME.fullmatch(event["time"]) and datetime.fromisoformat(event["time"])
        assert URI_REFERENCE.fullmatch(event["source"])
        assert event["subject"] == (record.team or record.key_id)
        assert event["data"]["charge_nano"] == record.charge_nano
