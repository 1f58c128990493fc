"""LiteLLM: `/key/list`, `/key/info` and `/team/list` answers, and dumps of its tables.

A key's `token` is the SHA-256 of its secret in hex. Budgets are in US dollars.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from proxy.core.managed import TenantKind
from proxy.tenants.other_gateways.export_rows import ExportRow, as_number
from proxy.tenants.other_gateways.plan import (
    Draft,
    Options,
    Planned,
    budget,
    named,
    refused,
    stands_twice,
    stem_of,
    usd,
)

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_ALL_MODELS = frozenset({"all-team-models", "all-proxy-models", "*"})
# The admin pages of LiteLLM make keys of this team for each of their own sessions.
_OF_ITS_PAGES = "litellm-dashboard"
_RATES = (
    ("rpm_limit", "requests/minute"),
    ("tpm_limit", "tokens/minute"),
    ("max_parallel_requests", "concurrent"),
)
_MODEL_RATES = (("model_rpm_limit", "requests/minute"), ("model_tpm_limit", "tokens/minute"))
# What is told if it says anything. Of metadata, what limits has its counterpart.
_NO_COUNTERPART = (
    "aliases config permissions router_settings policies access_group_ids organization_id"
    " project_id agent_id user_id auto_rotate tags guardrails"
).split()
_RESTRICTIONS = ("allowed_routes", "allowed_cache_controls", "allowed_passthrough_routes")


def read(rows: Sequence[ExportRow], options: Options) -> list[Planned]:
    """The teams of an export, then its keys."""
    budgets: dict[str, ExportRow] = {}
    teams: dict[str, ExportRow] = {}
    keys: dict[str, ExportRow] = {}
    left_out: list[Planned] = []
    again: dict[str, str] = {}  # what to say of a row that stands twice, by its place
    for row in rows:
        token, team, held = (row.text(name) for name in ("token", "team_id", "budget_id"))
        if token is not None or team is not None:
            found, id = (teams, team or "") if token is None else (keys, token)
            first = found.setdefault(id, row)
            if (note := stands_twice(first, row)) is not None:
                again[first.place] = note
        elif held is not None:
            budgets[held] = row
        else:
            why = row.text("broken") or "it is neither a key (`token`) nor a team (`team_id`)"
            left_out.append(refused(row.place, "", why))
    by_id: dict[str, Draft] = {}
    for id, row in teams.items():
        if id == _OF_ITS_PAGES:
            continue
        try:
            by_id[id] = _team(id, row, options, budgets)
            by_id[id].tell(again.get(row.place))
        except ValueError as error:
            left_out.append(refused(row.place, row.text("team_alias") or id, str(error)))
    made = named([*by_id.values()], map(stem_of, by_id))
    names = {id: plan.name for id, plan in zip(by_id, made, strict=True)}
    drafts = []
    for token, row in keys.items():
        name = row.text("key_alias") or ""
        try:
            drafts.append(_key(token, name, row, names, options, budgets))
            drafts[-1].tell(again.get(row.place))
        except ValueError as error:
            left_out.append(refused(row.place, name, str(error)))
    return [*left_out, *made, *named(drafts, [(draft.digest or "")[:8] for draft in drafts])]


def _team(id: str, row: ExportRow, options: Options, budgets: Mapping[str, ExportRow]) -> Draft:
    draft = Draft(TenantKind.TEAM, row.place, row.text("team_alias") or id)
    _common(draft, row, options, budgets)
    return draft


def _key(
    token: str,
    name: str,
    row: ExportRow,
    teams: Mapping[str, str],
    options: Options,
    budgets: Mapping[str, ExportRow],
) -> Draft:
    digest = _digest(token)
    team = row.text("team_id")
    if team == _OF_ITS_PAGES:
        raise ValueError("it is a session of LiteLLM's own pages")
    if team is not None and team not in teams:
        raise ValueError(
            f"its team {team[:40]!r} is not in the export, or not taken over: give the answer of"
            " /team/list too"
        )
    payer = options.team if team is None else teams[team]
    expires = _moment(row.text("expires"))
    draft = Draft(TenantKind.KEY, row.place, name, digest, payer, expires)
    _common(draft, row, options, budgets)
    for field in _RESTRICTIONS:
        if row.names(field):
            draft.restrict(field, options)
    return draft


def _common(
    draft: Draft, row: ExportRow, options: Options, budgets: Mapping[str, ExportRow]
) -> None:
    """What keys and teams have alike."""
    if row.truth("blocked"):
        draft.suspend()
    row = _with_budget(draft, row, options, budgets)
    metadata = row.mapping("metadata")
    models = row.names("models")
    draft.allow([] if _ALL_MODELS & set(models) else models)
    spent = row.number("spend")
    if spent:
        draft.spend(spent)
    _money_limits(draft, row, options)
    for field, unit in _RATES:
        count = row.count(field)
        if count is not None:
            draft.limits.append(f"{_at_least_zero(count, field)} {unit}")
    for field, unit in _MODEL_RATES:
        for model, value in _mapping(metadata.get(field) or row.mapping(field), field).items():
            number = as_number(value, field)
            if number is not None:
                draft.limits.append(f"{_at_least_zero(int(number), field)} {unit} for {model}")
    told = [name for name in _NO_COUNTERPART if row.parsed(name) or metadata.get(name)]
    if told:
        draft.notes.append(f"no counterpart here: {', '.join(told)}")


def _with_budget(
    draft: Draft, row: ExportRow, options: Options, budgets: Mapping[str, ExportRow]
) -> ExportRow:
    """The row, with what the budget says that it names, where it says nothing itself."""
    held = row.mapping("litellm_budget_table")
    id = row.text("budget_id")
    if not held and id is not None:
        if id not in budgets:
            draft.restrict(f"its budget {id[:40]!r} is not in the export, and", options)
            return row
        held = budgets[id].fields
    own = {name: value for name, value in held.items() if value is not None}
    return ExportRow(row.place, {**own, **row.fields})


def _money_limits(draft: Draft, row: ExportRow, options: Options) -> None:
    most, soft = row.number("max_budget"), row.number("soft_budget")
    duration = row.text("budget_duration")
    if most is not None and duration is None and draft.spent is not None:
        draft.notes.append(f"{usd(draft.spent)} of {usd(most)} are spent: its limit is the rest")
        most = max(Decimal(0), most - draft.spent)
    elif draft.spent is not None:
        draft.notes.append(f"{usd(draft.spent)} are spent there, which are not counted here")
    if most is not None:
        limit, note = budget(most, duration, options.money)
        draft.tell(note)
        share = None if soft is None or most <= 0 else int(100 * soft / most)
        if share is not None and 0 < share < 100:
            draft.limits.append({"limit": limit, "warn_at": [f"{share}%"]})
        else:
            draft.limits.append(limit)
    elif soft is not None:
        limit, _ = budget(soft, duration, options.money)
        draft.limits.append({"limit": limit, "enforce": "warn"})
    for model, said in row.mapping("model_max_budget").items():
        amount, lasts = _model_budget(said)
        limit, note = budget(amount, lasts, options.money)
        draft.tell(note)
        draft.limits.append(f"{limit} for {model}")


def _model_budget(said: object) -> tuple[Decimal, str | None]:
    """The amount and its duration; a number alone is one for good."""
    if isinstance(said, Mapping):
        amount = next((said[name] for name in ("budget_limit", "max_budget") if name in said), None)
        lasts = next(
            (said[name] for name in ("time_period", "budget_duration") if name in said), None
        )
    else:
        amount, lasts = said, None
    found = as_number(amount, "model_max_budget")
    if found is None:
        raise ValueError("model_max_budget says no amount")
    return found, None if lasts is None else str(lasts)


def _digest(token: str) -> str:
    """The digest of a secret, which stands there as it is or as its digest."""
    if _DIGEST.fullmatch(token):
        return token.lower()
    if not token.startswith("sk-") or "..." in token or "*" in token:
        raise ValueError("its token is no SHA-256 in hex, and masked or no secret")
    return hashlib.sha256(token.encode()).hexdigest()


def _moment(text: str | None) -> str | None:
    """A time as config.yaml has it: LiteLLM's are in UTC."""
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"expires {text[:30]!r} is no time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no JSON object")
    return value


def _at_least_zero(count: int, name: str) -> int:
    if count < 0:
        raise ValueError(f"{name} is negative")
    return count
