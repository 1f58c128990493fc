"""new-api and one-api: dumps of their table `tokens`, and answers of `/api/token/` with whole keys.

Keys stand there in the clear and without `sk-`, which their clients send before them. They are
hashed as they are read. Quotas are in units of which 500,000 are a US dollar by default.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Sequence
from decimal import Decimal

from proxy.core.managed import TenantKind
from proxy.tenants.other_gateways.export_rows import ExportRow
from proxy.tenants.other_gateways.plan import (
    Draft,
    Options,
    Planned,
    budget,
    named,
    refused,
    stands_twice,
    usd,
)

_KEY = re.compile(r"(?:sk-)?([A-Za-z0-9_-]{16,128})")
_ENABLED, _DISABLED, _EXPIRED, _EXHAUSTED = 1, 2, 3, 4
_IP_LISTS = ("allow_ips", "subnet")
_NO_COUNTERPART = ("group", "auto_groups", "cross_group_retry", "user_id")
_YEAR_9999_S = 253_370_764_800


def read(rows: Sequence[ExportRow], options: Options) -> list[Planned]:
    """The keys of an export."""
    left_out: list[Planned] = []
    drafts: dict[str, Draft] = {}
    first: dict[str, ExportRow] = {}
    for row in rows:
        name = row.text("name") or ""
        try:
            draft = _key(row, name, options)
            digest = draft.digest or ""
            drafts.setdefault(digest, draft).tell(stands_twice(first.setdefault(digest, row), row))
        except ValueError as error:
            left_out.append(refused(row.place, name, str(error)))
    return [*left_out, *named([*drafts.values()], [digest[:8] for digest in drafts])]


def _key(row: ExportRow, name: str, options: Options) -> Draft:
    if "broken" in row.fields:
        raise ValueError(row.text("broken"))
    if row.text("deleted_at") is not None:
        raise ValueError("it is deleted there")
    digest, status = _digest(row.text("key")), row.count("status")
    if status not in (None, _ENABLED, _DISABLED, _EXPIRED, _EXHAUSTED):
        raise ValueError(f"status {status} is not known")
    expires = _moment(row.count("expired_time"))
    draft = Draft(TenantKind.KEY, row.place, name, digest, options.team, expires)
    if status == _DISABLED or (status == _EXPIRED and expires is None):
        draft.suspend()
    _quota(draft, row, options)
    _models(draft, row, options)
    for field in _IP_LISTS:
        if row.text(field) is not None:
            draft.restrict(field, options)
    told = [name for name in _NO_COUNTERPART if row.fields.get(name) not in (None, "", 0, False)]
    if told:
        draft.notes.append(f"no counterpart here: {', '.join(told)}")
    return draft


def _digest(key: str | None) -> str:
    match = None if key is None or "*" in key else _KEY.fullmatch(key)
    if match is None:
        raise ValueError(
            "its key is masked or missing: export the table `tokens` of the database, where it"
            " stands whole"
        )
    return hashlib.sha256(f"sk-{match[1]}".encode()).hexdigest()


def _moment(at_s: int | None) -> str | None:
    if at_s is None or at_s in (-1, 0):
        return None
    if not 0 < at_s < _YEAR_9999_S:
        raise ValueError("expired_time is no time in seconds")
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _quota(draft: Draft, row: ExportRow, options: Options) -> None:
    used, remaining = row.number("used_quota"), row.number("remain_quota")
    unlimited = row.truth("unlimited_quota")
    if used:
        draft.spend(used / options.quota_per_usd)
        rest = "" if unlimited else ": its limit is the rest"
        draft.tell(f"{usd(used / options.quota_per_usd)} are spent there{rest}")
    if unlimited:
        return
    if remaining is None:
        raise ValueError("it has neither unlimited_quota nor a remain_quota")
    limit, _ = budget(max(remaining, Decimal(0)) / options.quota_per_usd, None, options.money)
    draft.limits.append(limit)


def _models(draft: Draft, row: ExportRow, options: Options) -> None:
    """new-api's list holds if it is enabled; that of one-api if there is one."""
    if "model_limits_enabled" in row.fields:
        if not row.truth("model_limits_enabled"):
            return
        draft.allow(row.names("model_limits"))
        if not draft.models:
            draft.restrict("an empty list of models, which allows none", options)
    else:
        draft.allow(row.names("models"))
