"""Keys and teams of the config and of the database in one: the config holds for what it names."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from proxy.config.settings import KeySettings, Settings, TeamSettings
from proxy.core.errors import ProxyError
from proxy.core.managed import KeySecret, Managed, State, TenantKind
from proxy.tenants.directory import Directory, state_of_key
from proxy.tenants.ring import KeyRing

CONFIG = Settings(
    teams={"research": TeamSettings(labels={"site": "hq"})},
    keys={"alice": KeySettings(team="research", secret_sha256="aa" * 32)},
)


def key(name: str, says: bytes = b"{}", **more: object) -> Managed:
    digest = hashlib.sha256(name.encode()).hexdigest()
    fields = {"secrets": (KeySecret(digest, 1),), **more}
    return Managed(kind=TenantKind.KEY, name=name, says=msgspec.Raw(says), **fields)  # type: ignore[arg-type]


def team(name: str, says: bytes = b"{}", **more: object) -> Managed:
    return Managed(kind=TenantKind.TEAM, name=name, says=msgspec.Raw(says), **more)  # type: ignore[arg-type]


def test_the_settings_have_both_and_rows_change_without_the_others() -> None:
    first = Directory(CONFIG, [key("bob", b'{"team":"lab"}'), team("lab"), key("carol")])
    assert set(first.settings.keys) == {"alice", "bob", "carol"} and not first.faults
    assert set(first.settings.teams) == {"research", "lab"}
    second = first.with_rows(
        [key("bob", b'{"team":"research"}'), key("carol", state=State.REVOKED)]
    )
    assert second.settings.keys["bob"].team == "research"
    assert "carol" not in second.settings.keys
    assert second.state(TenantKind.KEY, "carol") is State.REVOKED
    # The first is as it was: requests that run on it see nothing of the change.
    assert first.settings.keys["bob"].team == "lab" and "carol" in first.settings.keys
    assert first.state(TenantKind.KEY, "carol") is State.ACTIVE


def test_a_row_that_a_config_has_no_place_for_is_a_fault_and_comes_back_with_the_config() -> None:
    rows = [key("bob", b'{"team":"research"}'), key("alice"), key("carol")]
    here = Directory(CONFIG.__class__(keys=CONFIG.keys, teams={}), rows)
    assert set(here.faults) == {(TenantKind.KEY, "bob"), (TenantKind.KEY, "alice")}
    assert "bob" not in here.settings.keys and "carol" in here.settings.keys
    there = here.with_config(CONFIG)
    assert set(there.faults) == {(TenantKind.KEY, "alice")}
    assert there.settings.keys["alice"] is CONFIG.keys["alice"]


def test_a_suspension_of_what_the_config_names_changes_nothing_else_of_it() -> None:
    row = Managed(kind=TenantKind.KEY, name="alice", file=True, state=State.SUSPENDED)
    directory = Directory(CONFIG, [row])
    assert directory.settings.keys == CONFIG.keys and not directory.faults
    assert directory.state(TenantKind.KEY, "alice") is State.SUSPENDED


def test_every_secret_has_its_owner_those_of_revoked_keys_too() -> None:
    rows = [key("bob", state=State.REVOKED), key("carol")]
    directory = Directory(CONFIG).with_rows(rows)
    owners = {hashlib.sha256(name.encode()).hexdigest(): name for name in ("bob", "carol")}
    assert directory.digests == {"aa" * 32: "alice", **owners}


def test_a_key_comes_back_with_its_team_as_the_next_start_would_read_it() -> None:
    here = Directory(Settings(), [key("bob", b'{"team":"lab"}')])
    assert set(here.faults) == {(TenantKind.KEY, "bob")}
    made = here.with_rows([team("lab")])
    assert not made.faults and made.settings.keys["bob"].team == "lab"
    assert made.settings == Directory(Settings(), made.rows.values()).settings


def test_a_secret_that_the_config_gives_to_another_key_is_that_ones() -> None:
    config = Settings(keys={"carol": KeySettings(secret_sha256=hashlib.sha256(b"bob").hexdigest())})
    directory = Directory(config, [key("bob"), key("dave")])
    assert set(directory.faults) == {(TenantKind.KEY, "bob")}
    ring = KeyRing(directory)
    for found in (ring, ring.changed(directory, ["bob"]), ring.changed(directory, ["carol"])):
        assert found.authenticate([(b"x-api-key", b"bob")], 0, False).key_id == "carol"


@pytest.mark.parametrize("secret_sha256", ["bb" * 32, ""])
def test_the_databases_secret_of_a_name_that_the_config_has_is_known_and_refused(
    secret_sha256: str,
) -> None:
    """Else a proxy with an `auth: forward` upstream would tell it to the vendor."""
    config = Settings(keys={"bob": KeySettings(secret_sha256=secret_sha256)})
    ring = KeyRing(Directory(config, [key("bob")]))
    with pytest.raises(ProxyError) as refused:
        ring.authenticate([(b"x-api-key", b"bob")], 0, True)
    assert refused.value.code == "key_revoked"
    assert ring.refusal_of("bob") is None or not secret_sha256


def test_several_owners_are_two_teams_or_keys_of_their_own() -> None:
    several = [
        Directory(CONFIG, rows).has_several_owners
        for rows in (
            [],
            [key("bob", b'{"team":"research"}')],
            [key("bob")],
            [team("lab"), key("bob", b'{"team":"lab"}')],
        )
    ]
    assert several == [False, False, True, True]
    assert not Directory(Settings()).has_several_owners
    alone = Settings(keys={"a": KeySettings(), "b": KeySettings()})
    assert Directory(alone).has_several_owners


def test_a_teams_keys_are_those_of_the_config_and_the_database_revoked_ones_too() -> None:
    settings = Settings(
        teams={"lab": TeamSettings(), "other": TeamSettings()},
        keys={"a": KeySettings(team="lab"), "b": KeySettings(team="other")},
    )
    rows = [
        key("c", b'{"team":"lab"}'),
        key("d", b'{"team":"lab"}', state=State.REVOKED),
        key("e"),
    ]
    directory = Directory(settings, rows)
    assert directory.keys_of("lab") == ["a", "c", "d"]
    assert state_of_key(directory, "d", "lab") == "revoked"
