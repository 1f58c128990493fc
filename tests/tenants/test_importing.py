"""Rows of another gateway: made, known, or refused, each by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec
import pytest

from proxy.config.settings import KeySettings, Settings, TeamSettings
from proxy.core.managed import Managed, State, TenantKind
from proxy.tenants import orders
from proxy.tenants.directory import Directory, said
from proxy.tenants.importing import (
    OTHER_NAME_DIGITS,
    Imported,
    ImportOutcome,
    Incoming,
    take_over,
)

BY = orders.By(actor="ann", origin="socket", at_ms=1_800_000_000_000, reason="move")
CONFIG = Settings(
    teams={"old": TeamSettings()}, keys={"carol": KeySettings(secret_sha256="c" * 64)}
)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def key(
    name: str, secret: str | None = None, *, suspended: bool = False, **says: object
) -> Incoming:
    return Incoming(TenantKind.KEY, name, says, digest(secret or name), suspended)


def team(name: str, *, suspended: bool = False, **says: object) -> Incoming:
    return Incoming(TenantKind.TEAM, name, says, None, suspended)


ROWS = [
    team("lab", limits=["5 USD/day"]),
    team("old", models=["m"]),
    key("alice", team="lab", limits=["1 USD/day"]),
    key("bob", team="gone"),
    key("carol", "another"),
    msgspec.structs.replace(key("dave"), secret_sha256="c" * 64),
    key("erin", suspended=True),
    key("alice", "third"),
    team("x y"),
    Incoming(TenantKind.KEY, "frank", {}, None),
]


def test_each_row_has_its_own_fate_and_a_bad_one_stops_no_other() -> None:
    change, told = take_over(Directory(CONFIG), ROWS, BY)
    refused = [one for one in told if one.outcome is ImportOutcome.REFUSED]
    assert [
        (one.outcome, one.name) for one in told if one.outcome is not ImportOutcome.REFUSED
    ] == [
        (ImportOutcome.MADE, "lab"),
        (ImportOutcome.KNOWN, "old"),
        (ImportOutcome.MADE, "alice"),
        (ImportOutcome.MADE, f"carol-{digest('another')[:6]}"),
        (ImportOutcome.KNOWN, "carol"),
        (ImportOutcome.MADE, "erin"),
        (ImportOutcome.MADE, f"alice-{digest('third')[:6]}"),
    ]
    assert [one.name for one in refused] == ["bob", "x y", "frank"]
    assert "no team 'gone'" in str(refused[0].note) and "64 hexadecimal digits" in str(
        refused[2].note
    )
    assert told[1].note == told[5].note == "config.yaml has it, and what stands there holds"
    assert told[4].note == "another key is called 'carol'"
    assert [row.name for row in change.rows] == [entry.name for entry in change.audit]
    assert {row.name for row in change.rows if row.state is State.SUSPENDED} == {"erin"}
    assert {entry.action for entry in change.audit} == {"team.create", "key.create"}
    assert {entry.reason for entry in change.audit} == {"move"}


def test_the_same_rows_again_make_nothing_and_tell_what_differs() -> None:
    change, _ = take_over(Directory(CONFIG), ROWS, BY)
    now = Directory(CONFIG).with_rows(change.rows)
    again, told = take_over(now, ROWS, BY)
    assert again.rows == again.audit == ()
    assert {one.outcome for one in told} == {ImportOutcome.KNOWN, ImportOutcome.REFUSED}
    assert [
        one.note
        for one in told
        if one.outcome is ImportOutcome.KNOWN and one.name not in CONFIG.teams | CONFIG.keys
    ] == [None] * 5
    edited = [
        key("alice", team="lab", limits=["2 USD/day"], models=["m"]),
        key("renamed", "erin"),
        team("lab", suspended=True, limits=["5 USD/day"]),
    ]
    again, told = take_over(now, edited, BY)
    assert again.rows == ()
    assert told == [
        Imported(
            ImportOutcome.KNOWN, "alice", "it differs here in limits, models, and stays as it is"
        ),
        Imported(ImportOutcome.KNOWN, "erin"),
        Imported(ImportOutcome.KNOWN, "lab", "it differs here in suspended, and stays as it is"),
    ]


def test_a_revoked_key_stays_revoked() -> None:
    directory = Directory(CONFIG)
    directory = directory.with_rows(take_over(directory, [key("alice")], BY)[0].rows)
    directory = directory.with_rows(orders.revoke(directory, TenantKind.KEY, "alice", BY).rows)
    change, told = take_over(directory, [key("alice")], BY)
    assert change.rows == () and told == [
        Imported(ImportOutcome.KNOWN, "alice", "it is revoked here")
    ]
    change, told = take_over(directory, [key("alice", "other")], BY)
    assert [said(row) for row in change.rows] == [{}] and told[0].name.startswith("alice-")


@pytest.mark.parametrize("name", ["a" * 64, "b"])
def test_another_name_is_no_longer_than_a_name_may_be(name: str) -> None:
    directory = Directory(CONFIG)
    directory = directory.with_rows(take_over(directory, [key(name)], BY)[0].rows)
    _, [told] = take_over(directory, [key(name, "other")], BY)
    assert told.outcome is ImportOutcome.MADE and len(told.name) <= 64


class Copied(Directory):
    """A directory that counts how often it was copied."""

    times = 0

    def with_rows(self, rows: Iterable[Managed]) -> Directory:
        Copied.times += 1
        return super().with_rows(rows)


def test_many_keys_do_not_copy_all_of_them_for_each() -> None:
    Copied.times = 0
    rows = [team("lab"), *(key(f"k{number}", team="lab") for number in range(500))]
    change, told = take_over(Copied(CONFIG), rows, BY)
    assert {one.outcome for one in told} == {ImportOutcome.MADE} and len(change.rows) == 501
    assert Copied.times <= 3


def test_what_stands_twice_in_one_request_is_seen_all_the_same() -> None:
    other = f"k1-{digest('second')[:OTHER_NAME_DIGITS]}"
    rows = [key("k1"), key("k2", "k1"), key("k1", "second"), key(other), key("k1", "second")]
    _, told = take_over(Directory(CONFIG), rows, BY)
    assert [(one.outcome, one.name) for one in told] == [
        (ImportOutcome.MADE, "k1"),
        (ImportOutcome.KNOWN, "k1"),
        (ImportOutcome.MADE, other),
        (ImportOutcome.MADE, f"{other}-{digest(other)[:OTHER_NAME_DIGITS]}"),
        (ImportOutcome.KNOWN, other),
    ]
