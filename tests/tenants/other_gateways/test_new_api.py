"""The table of new-api and one-api: the shapes of both, and what becomes of each."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import pytest

from proxy.tenants.other_gateways.export_rows import read_rows
from proxy.tenants.other_gateways.new_api import read
from proxy.tenants.other_gateways.plan import Money, Options, Planned

SECRET = "Ab1" * 16
DIGEST = hashlib.sha256(f"sk-{SECRET}".encode()).hexdigest()
TOKEN: dict[str, object] = {
    "id": 7, "user_id": 1, "key": SECRET, "status": 1, "name": "ci", "created_time": 1700000000,
    "accessed_time": 1700000001, "expired_time": -1, "remain_quota": 0, "unlimited_quota": True,
    "model_limits_enabled": False, "model_limits": "", "allow_ips": "", "used_quota": 0, "group": "",
    "DeletedAt": None,
}  # fmt: skip


def token(options: Options | None = None, /, **changes: object) -> Planned:
    (found,) = read(read_rows(json.dumps([TOKEN | changes]).encode(), "f"), options or Options())
    assert SECRET not in json.dumps([found.name, found.notes, found.place])
    return found


# What stands there -> the words, whether it is suspended, and what is told.
WORDS: list[tuple[dict[str, object], dict[str, object], bool, str]] = [
    ({}, {}, False, "user_id"),
    ({"unlimited_quota": False, "remain_quota": 5_000_000}, {"limits": ["10.00 USD/total"]}, False, ""),
    ({"unlimited_quota": 0, "remain_quota": "1"}, {"limits": ["0.000002 USD/total"]}, False, ""),
    ({"unlimited_quota": False, "remain_quota": -20, "status": 4}, {"limits": ["0.00 USD/total"]}, False, ""),
    ({"unlimited_quota": False, "remain_quota": 500_000, "used_quota": 250_000}, {"limits": ["1.00 USD/total"]}, False, "0.5 USD are spent there: its limit is the rest"),
    ({"used_quota": 250_000}, {}, False, "0.5 USD are spent there"),
    ({"status": 2}, {}, True, ""),
    ({"status": 3}, {}, True, ""),
    ({"status": 3, "expired_time": 1700000000}, {"expires": "2023-11-14T22:13:20Z"}, False, ""),
    ({"expired_time": 0}, {}, False, ""),
    ({"model_limits_enabled": True, "model_limits": "gpt-4o,o3"}, {"models": ["gpt-4o", "o3"]}, False, ""),
    ({"model_limits_enabled": 1, "model_limits": ""}, {}, True, "allows none"),
    ({"model_limits": "gpt-4o"}, {}, False, ""),
    ({"allow_ips": "10.0.0.1\n10.0.0.2"}, {}, True, "allow_ips: no counterpart here, so it is taken over suspended"),
    ({"group": "vip"}, {}, False, "no counterpart here: group"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "here", "suspended", "note"), WORDS)
def test_what_a_key_may_do(
    there: dict[str, object], here: dict[str, object], suspended: bool, note: str
) -> None:
    found = token(**there)
    assert found.row is not None and found.row.secret_sha256 == DIGEST
    assert (found.row.says, found.row.suspended) == (here, suspended)
    assert note in "; ".join(found.notes)


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ({"key": "abcd**********wxyz"}, "masked"),
        ({"key": None}, "masked or missing"),
        ({"status": 9}, "status 9 is not known"),
        ({"expired_time": 1700000000000}, "no time in seconds"),
        ({"unlimited_quota": False, "remain_quota": None}, "neither unlimited_quota nor"),
        ({"unlimited_quota": "maybe"}, "neither true nor false"),
        ({"deleted_at": "2026-01-01 00:00:00"}, "deleted there"),
    ],
)
def test_what_cannot_be_taken_over_is_named(there: dict[str, object], why: str) -> None:
    found = token(**there)
    assert found.row is None and why in found.notes[0] and found.place == "f row 1"


def test_one_api_has_its_list_in_models_and_its_addresses_in_subnet() -> None:
    of_one_api = {name: value for name, value in TOKEN.items() if "limits" not in name} | {
        "models": "a,b",
        "subnet": "",
    }
    (found,) = read(
        read_rows(json.dumps({"data": [of_one_api], "success": True}).encode(), "f"), Options()
    )
    assert found.row is not None and found.row.says == {"models": ["a", "b"]}


def test_csv_of_mysql_and_keys_that_stand_there_with_their_prefix() -> None:
    text = f"`id`\t`key`\t`name`\t`status`\t`unlimited_quota`\t`remain_quota`\t`expired_time`\n1\tsk-{SECRET}\t默认 1\t1\t0\t500000\t-1\n2\t{'x' * 48}\t默认 1\t1\t1\tNULL\t-1\n"
    options = Options(
        money=Money("CNY", Decimal("7.123456789123")), quota_per_usd=Decimal(1_000_000)
    )
    one, two = read(read_rows(text.encode(), "t.csv"), options)
    assert one.row is not None and one.row.secret_sha256 == DIGEST
    assert one.row.says == {"limits": ["3.561728394 CNY/total"]}, "rounded down"
    assert one.name == f"默认-1-{DIGEST[:8]}" and two.name.startswith("默认-1-")


def test_a_key_that_stands_twice_is_taken_once_and_the_other_row_is_told() -> None:
    rows = [TOKEN, {**TOKEN, "accessed_time": 9}, {**TOKEN, "name": "cd", "remain_quota": 5}]
    [one] = read(read_rows(json.dumps(rows).encode(), "f"), Options())
    assert one.name == "ci"
    assert one.notes[-1] == "f row 3 has it again, with another name, remain_quota: this row holds"
