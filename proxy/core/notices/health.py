"""Notices of all but limits: keys that expire, missing prices, a late ledger, rejected keys."""

from __future__ import annotations

from datetime import tzinfo

from proxy.core.notices.notice import Notice, iso, moment

DAY_MS = 86_400_000
KEY_EXPIRES_DAYS = (7, 1)  # so long before a key expires it is told


def key_expiring(
    key: str, team: str | None, expires_at_ms: int, zone: tzinfo, now_ms: int
) -> Notice | None:
    """The notice of a key that expires soon; None if that is further off, or past.

    It is told at each of KEY_EXPIRES_DAYS, once for each time at which the key expires.
    """
    left_ms = expires_at_ms - now_ms
    due = [days for days in KEY_EXPIRES_DAYS if left_ms <= days * DAY_MS]
    if left_ms <= 0 or not due:
        return None
    days = min(due)
    return Notice(
        event="key_expiring",
        at_ms=now_ms,
        subject=f"key {key} {expires_at_ms} {days}",
        until_ms=expires_at_ms,
        team=team,
        title=f"The key {key} expires in less than {'a day' if days == 1 else f'{days} days'}.",
        facts=(("Expires", moment(expires_at_ms, zone)),),
        data={"key": key, "expires_at": iso(expires_at_ms, zone)},
    )


def unpriced_model(upstream: str, model: str, month_ends_ms: int | None, now_ms: int) -> Notice:
    """The notice of requests whose cost is not known, once a calendar month for each model.

    An empty name was left out of the metrics' labels by the operator.
    """
    what = f"The model {model}" if model else "A model"
    where = f" of {upstream}" if upstream else ""
    return Notice(
        event="unpriced_model",
        at_ms=now_ms,
        subject=f"unpriced {upstream} {model} {month_ends_ms}",
        until_ms=month_ends_ms,
        title=f"{what}{where} is used, and its requests are booked without a cost.",
        facts=(
            ("Do", "Add a row to `prices`; `tollkeeper price rerate` then prices what was booked."),
        ),
        data={"upstream": upstream or None, "model": model or None},
    )


def ledger_behind(lag_s: int, backlog: int, now_ms: int) -> Notice:
    """The notice of records that wait for the ledger. Nothing is lost: the journal has them."""
    return Notice(
        event="ledger_behind",
        at_ms=now_ms,
        subject=f"ledger {now_ms - lag_s * 1000}",
        until_ms=now_ms + DAY_MS,
        title=f"The ledger is behind: a record has waited {lag_s} s to be booked.",
        facts=(
            ("Waiting", f"{backlog} records"),
            ("Lost", "nothing, the journal has them"),
            ("Do", "Look at the ledger's disk and locks; the log says what failed."),
        ),
        data={"lag_s": lag_s, "backlog_records": backlog},
    )


def credential_rejected(
    upstream: str, account: str | None, day_ends_ms: int | None, now_ms: int
) -> Notice:
    """The notice of a vendor that rejects the operator's key, once a day for each key.

    `account` is the digest under which records name the key.
    """
    return Notice(
        event="upstream_credential_rejected",
        at_ms=now_ms,
        subject=f"credential {upstream} {account or ''} {day_ends_ms}",
        until_ms=day_ends_ms,
        title=f"The upstream {upstream} rejects the key that the proxy sends.",
        facts=(("Do", f"Check upstreams.{upstream}.api_key with `tollkeeper check --connect`."),),
        data={"upstream": upstream, "account": account},
    )
