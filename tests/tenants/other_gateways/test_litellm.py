"""LiteLLM's exports: the shapes that its API and its database have, and what becomes of each."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest

from proxy.config.managed import read_key, read_team
from proxy.config.settings import Settings, TeamSettings
from proxy.core.managed import TenantKind
from proxy.tenants.other_gateways.export_rows import read_rows
from proxy.tenants.other_gateways.litellm import read
from proxy.tenants.other_gateways.plan import Money, Options, Planned

DIGEST = hashlib.sha256(b"sk-alice").hexdigest()
OTHER = hashlib.sha256(b"sk-bob").hexdigest()
# As /key/list?return_full_object=true answers of version 1.8x: everything is there, most is empty.
KEY: dict[str, Any] = {
    "token": DIGEST, "key_name": "sk-...alice", "key_alias": "alice", "soft_budget_cooldown": False,
    "spend": 0.0, "expires": None, "models": [], "aliases": {}, "config": {}, "router_settings": {},
    "user_id": None, "team_id": None, "permissions": {}, "max_parallel_requests": None,
    "metadata": {}, "blocked": None, "tpm_limit": None, "rpm_limit": None, "max_budget": None,
    "budget_duration": None, "budget_reset_at": None, "allowed_cache_controls": [],
    "allowed_routes": [], "model_spend": {}, "model_max_budget": {}, "budget_id": None,
    "organization_id": None, "object_permission_id": None, "litellm_budget_table": None,
    "litellm_organization_table": None, "rotation_count": 0, "auto_rotate": False,
}  # fmt: skip
TEAM: dict[str, Any] = {
    "team_id": "t-1", "team_alias": "research", "members_with_roles": [{"user_id": "u", "role": "admin"}],
    "metadata": {}, "max_budget": None, "spend": 0.0, "models": [], "blocked": False, "keys": [],
}  # fmt: skip


def planned(*values: object, options: Options | None = None) -> list[Planned]:
    rows = [
        row
        for n, value in enumerate(values)
        for row in read_rows(json.dumps(value).encode(), f"f{n}")
    ]
    return read(rows, Options() if options is None else options)


def key_of(options: Options | None = None, /, **changes: object) -> Planned:
    """The one key of an answer, which can be made here."""
    (found,) = planned(
        {"keys": [KEY | changes], "total_count": 1, "total_pages": 1}, options=options
    )
    if found.row is not None:
        known = Settings(currency="CNY" if options else "USD", teams={"lab": TeamSettings()})
        read_key(found.name, found.row.says, known)
    return found


def test_a_key_is_its_digest_and_its_alias() -> None:
    found = key_of()
    assert found.row is not None and found.notes == ()
    assert (found.row.kind, found.row.name, found.row.secret_sha256) == (
        TenantKind.KEY,
        "alice",
        DIGEST,
    )
    assert found.row.says == {} and not found.row.suspended
    assert found.place == "f0 keys row 1"


# What the key has there -> its words here, and what is told of it.
WORDS: list[tuple[dict[str, object], dict[str, object], str]] = [
    ({"models": ["gpt-4o", "anthropic/*"]}, {"models": ["gpt-4o", "anthropic/*"]}, ""),
    ({"models": ["all-team-models"]}, {}, ""),
    ({"models": ["all-proxy-models", "gpt-4o"]}, {}, ""),
    ({"models": ["no-default-models"]}, {"models": ["no-default-models"]}, ""),
    ({"expires": "2027-04-15T10:30:00.123000+00:00"}, {"expires": "2027-04-15T10:30:00Z"}, ""),
    ({"expires": "2027-04-15T10:30:00+02:00"}, {"expires": "2027-04-15T08:30:00Z"}, ""),
    ({"rpm_limit": 60, "tpm_limit": 100000}, {"limits": ["60 requests/minute", "100000 tokens/minute"]}, ""),
    ({"max_parallel_requests": 8}, {"limits": ["8 concurrent"]}, ""),
    ({"max_budget": 10.0, "budget_duration": "30d"}, {"limits": ["10.00 USD/month"]}, ""),
    ({"max_budget": 10, "budget_duration": "1mo"}, {"limits": ["10.00 USD/month"]}, ""),
    ({"max_budget": 0.03, "budget_duration": "1d"}, {"limits": ["0.03 USD/day"]}, ""),
    ({"max_budget": 5, "budget_duration": "24h"}, {"limits": ["5.00 USD/day"]}, ""),
    ({"max_budget": 5, "budget_duration": "7d"}, {"limits": ["5.00 USD/week"]}, ""),
    ({"max_budget": 5, "budget_duration": "1h"}, {"limits": ["5.00 USD/day"]}, "1h is one for a day here, which is tighter"),
    ({"max_budget": 5, "budget_duration": "30s"}, {"limits": ["5.00 USD/day"]}, "tighter"),
    ({"max_budget": 5, "budget_duration": "14d"}, {"limits": ["5.00 USD/month"]}, "one for a month here"),
    ({"max_budget": 5, "budget_duration": "90d"}, {"limits": ["5.00 USD/total"]}, "one for all time here"),
    ({"max_budget": 1e-10}, {"limits": ["0.00 USD/total"]}, ""),
    ({"max_budget": 10, "spend": 2.5}, {"limits": ["7.50 USD/total"]}, "2.5 USD of 10 USD are spent: its limit is the rest"),
    ({"max_budget": 10, "spend": 12}, {"limits": ["0.00 USD/total"]}, "spent"),
    ({"max_budget": 10, "budget_duration": "1mo", "spend": 2.5}, {"limits": ["10.00 USD/month"]}, "2.5 USD are spent there, which are not counted"),
    ({"spend": 3}, {}, "3 USD are spent there"),
    ({"max_budget": 10, "budget_duration": "1mo", "soft_budget": 7.55}, {"limits": [{"limit": "10.00 USD/month", "warn_at": ["75%"]}]}, ""),
    ({"soft_budget": 8, "budget_duration": "1mo"}, {"limits": [{"limit": "8.00 USD/month", "enforce": "warn"}]}, ""),
    ({"model_max_budget": {"gpt-4o": {"budget_limit": "0.5", "time_period": "1d"}}}, {"limits": ["0.50 USD/day for gpt-4o"]}, ""),
    ({"model_max_budget": {"gpt-4o": {"max_budget": 2, "budget_duration": "30d"}, "o3": 1}}, {"limits": ["2.00 USD/month for gpt-4o", "1.00 USD/total for o3"]}, ""),
    ({"metadata": {"model_rpm_limit": {"gpt-4": 2}, "model_tpm_limit": {"gpt-4": 900}}}, {"limits": ["2 requests/minute for gpt-4", "900 tokens/minute for gpt-4"]}, ""),
    ({"litellm_budget_table": {"budget_id": "b", "max_budget": 9.0, "budget_duration": "1d", "rpm_limit": 3}, "budget_id": "b", "rpm_limit": 5}, {"limits": ["9.00 USD/day", "5 requests/minute"]}, ""),
    ({"aliases": {"gpt-4": "x"}, "user_id": "u-1", "metadata": {"tags": ["a"]}}, {}, "no counterpart here: aliases, user_id, tags"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "here", "note"), WORDS)
def test_what_a_key_may_do(there: dict[str, object], here: dict[str, object], note: str) -> None:
    found = key_of(**there)
    assert found.row is not None and found.row.says == here and not found.row.suspended
    assert bool(note) == bool(found.notes) and note in "; ".join(found.notes)


def test_what_has_no_counterpart_suspends_unless_it_is_to_be_loosened() -> None:
    for there in (
        {"allowed_routes": ["/chat/completions"]},
        {"budget_id": "b-7"},
        {"blocked": True},
    ):
        found = key_of(**there)
        assert found.row is not None and found.row.suspended
        assert any("so it is taken over suspended" in note for note in found.notes)
        loose = key_of(Options(loosen=True, money=Money("CNY", Decimal(7))), **there)
        assert loose.row is not None and loose.row.suspended is ("blocked" in there)


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"max_budget": -1}, "negative"),
    ({"max_budget": "a lot"}, "max_budget is no number"),
    ({"max_budget": True}, "max_budget is no number"),
    ({"max_budget": 5, "budget_duration": "fortnight"}, "'fortnight' is not known"),
    ({"rpm_limit": -1}, "rpm_limit is negative"),
    ({"expires": "soon"}, "'soon' is no time"),
    ({"model_max_budget": {"m": {}}}, "says no amount"),
    ({"model_max_budget": "x"}, "no JSON object"),
    ({"models": {"a": 1}}, "models is no list"),
    ({"blocked": "perhaps"}, "neither true nor false"),
    ({"team_id": "t-9"}, "team 't-9' is not in the export"),
    ({"team_id": "litellm-dashboard"}, "LiteLLM's own pages"),
    ({"token": "sk-...alice"}, "masked"),
    ({"token": "sk-al**ice"}, "masked"),
    ({"token": "alice"}, "no SHA-256"),
]


@pytest.mark.parametrize(("there", "why"), REFUSED)
def test_what_cannot_be_taken_over_is_named(there: dict[str, object], why: str) -> None:
    found = key_of(**there)
    assert found.row is None and why in found.notes[0] and found.place == "f0 keys row 1"


def test_a_secret_in_the_clear_is_hashed_at_once() -> None:
    for token in ("sk-alice", DIGEST.upper()):
        found = key_of(token=token)
        assert found.row is not None and found.row.secret_sha256 == DIGEST
        assert b"sk-alice" not in json.dumps([found.name, found.notes, found.row.says]).encode()


def test_teams_come_first_with_what_they_may_use_and_keys_name_them() -> None:
    team = TEAM | {
        "max_budget": 100.0,
        "budget_duration": "30d",
        "tpm_limit": 5,
        "models": ["gpt-4o"],
        "keys": [KEY | {"team_id": "t-1"}],
    }
    one, two = planned([team])
    assert one.row is not None and two.row is not None
    assert (one.row.kind, one.name, two.name) == (TenantKind.TEAM, "research", "alice")
    assert one.row.says == {"models": ["gpt-4o"], "limits": ["100.00 USD/month", "5 tokens/minute"]}
    read_team(one.name, one.row.says, Settings())
    assert two.row.says == {"team": "research"}
    assert two.place == "f0 row 1 keys row 1"


def test_names_that_several_have_are_told_apart_in_the_same_way_each_time() -> None:
    teams = [TEAM, TEAM | {"team_id": "t-2"}, TEAM | {"team_id": "t-3", "team_alias": "R&D / α"}]
    keys = [KEY | {"team_id": "t-2"}, KEY | {"token": OTHER, "team_id": "t-1"}]
    keys += [
        KEY | {"token": "0" * 64, "key_alias": None},
        KEY | {"token": "1" * 64, "key_alias": "fwd-x"},
    ]
    found = planned(teams, {"keys": keys})
    names = [one.name for one in found]
    assert [one.name for one in planned(teams, {"keys": keys[::-1]})] == [*names[:3], *names[:2:-1]]
    assert names[2] == "R-D-α" and names[3:] == [
        f"alice-{DIGEST[:8]}",
        f"alice-{OTHER[:8]}",
        "key-00000000",
        "key-fwd-x",
    ]
    assert len(set(names)) == 7 and all(one.notes for one in found)
    by_name = {one.name: one.row for one in found}
    alice = by_name[f"alice-{OTHER[:8]}"]
    assert alice is not None and alice.says["team"] == names[0]


def test_a_dump_of_the_tables_as_csv() -> None:
    keys = (
        "token,key_alias,spend,expires,models,team_id,blocked,max_budget,budget_duration,metadata,rpm_limit\n"
        f'{DIGEST},alice,0,2027-01-31 10:00:00.5,"{{gpt-4o,""o3 mini""}}",t-1,f,1E+2,30d,"{{""a"": 1}}",60\n'
        f"{OTHER},bob,0,,{{}},,t,,,{{}},\n"
        "broken,row\n"
    )
    teams = "\ufeffteam_id;team_alias;models;max_budget\nt-1;research;{};\\N\n"
    rows = [*read_rows(keys.encode(), "keys.csv"), *read_rows(teams.encode(), "teams.csv")]
    broken, team, alice, bob = read(rows, Options())
    assert (broken.place, broken.row) == ("keys.csv line 4", None)
    assert team.row is not None and team.row.says == {}
    assert alice.row is not None and alice.row.says == {
        "team": "research", "models": ["gpt-4o", "o3 mini"], "expires": "2027-01-31T10:00:00Z",
        "limits": ["100.00 USD/month", "60 requests/minute"],
    }  # fmt: skip
    assert bob.row is not None and bob.row.suspended and bob.row.says == {}


def test_other_answers_and_dumps() -> None:
    info = {"key": DIGEST, "info": {k: v for k, v in KEY.items() if k != "token"}}
    tables = {
        "LiteLLM_VerificationToken": [KEY | {"budget_id": "b"}],
        "LiteLLM_BudgetTable": [{"budget_id": "b", "max_budget": 1, "budget_duration": "1d"}],
    }
    for value in ([KEY], info, {"data": {"items": [KEY]}}, KEY, {"keys": [KEY]}):
        (found,) = planned(value)
        assert found.name == "alice" and found.row is not None
    (found,) = planned(tables)
    assert found.row is not None and found.row.says == {"limits": ["1.00 USD/day"]}


def test_budgets_in_another_currency_and_a_team_for_all() -> None:
    options = Options(money=Money("CNY", Decimal("7.1")), team="lab")
    found = key_of(options, max_budget=0.1, budget_duration="1d")
    assert found.row is not None and found.row.says == {"team": "lab", "limits": ["0.71 CNY/day"]}


def test_what_stands_in_two_files_is_taken_once_and_differences_are_told() -> None:
    keys = [KEY, {**KEY, "spend": 3.5}, {**KEY, "max_budget": 1}]
    teams = [TEAM, {**TEAM, "blocked": True}]
    team, key = planned(keys, teams)
    assert "row 2 has it again, with another blocked: this row holds" in team.notes[-1]
    assert "row 3 has it again, with another" not in str(key.notes), "absent is no difference"
    [_, key] = planned([{**KEY, "max_budget": 2}, {**KEY, "max_budget": 1}], [TEAM])
    assert "row 2 has it again, with another max_budget: this row holds" in key.notes[-1]
