"""What the admin plane shows of a key: its words, its state, and where it comes from."""

from __future__ import annotations

import msgspec

from proxy.admin.tenant_views import SecretView, key_view, names, team_views
from proxy.config.settings import KeySettings, LimitSettings, Settings, TeamSettings
from proxy.core.managed import KeySecret, Managed, State, TenantKind
from proxy.tenants.directory import Directory

CONFIG = Settings(
    teams={"lab": TeamSettings(limits=(LimitSettings(limit="5 USD/day"),))},
    keys={"alice": KeySettings(team="lab", secret_sha256="aa" * 32)},
)
BOB = Managed(
    kind=TenantKind.KEY,
    name="bob",
    says=msgspec.Raw(b'{"team":"lab","models":["gpt-*"]}'),
    secrets=(KeySecret("bb" * 32, 7), KeySecret("cc" * 32, 5, 9)),
    created_at_ms=5,
    created_by="root",
)


def test_a_key_is_shown_with_its_words_and_without_its_secrets_digests() -> None:
    directory = Directory(CONFIG, [BOB])
    view = key_view(directory, "bob", {"bob": 42})
    assert (view.team, view.models, view.state, view.managed_by) == (
        "lab",
        ["gpt-*"],
        "active",
        "api",
    )
    assert view.secrets == [SecretView(7, None), SecretView(5, 9)] and view.last_used_ms == 42
    assert b"bbbb" not in msgspec.json.encode(view)
    alice = key_view(directory, "alice", {})
    assert (alice.managed_by, alice.created_by, alice.secrets) == ("file", None, [])
    assert names(directory, TenantKind.KEY) == {"alice", "bob"}


def test_a_revoked_key_still_says_whose_it_was_and_a_team_how_many_it_has() -> None:
    revoked = msgspec.structs.replace(BOB, state=State.REVOKED)
    directory = Directory(CONFIG, [revoked])
    view = key_view(directory, "bob", {})
    assert (view.state, view.team) == ("revoked", "lab")
    [lab] = team_views(directory, ["lab"])
    assert (lab.keys, lab.limits, lab.managed_by) == (1, ["5 USD/day"], "file")
    suspended = Managed(kind=TenantKind.TEAM, name="lab", file=True, state=State.SUSPENDED)
    directory = directory.with_rows([suspended])
    assert key_view(directory, "alice", {}).state == "team suspended"
