"""What an administrator does to keys and teams: each order makes a change, or says why it cannot.

Nothing here writes: the change is written whole with its audit, and takes effect then.
"""

from __future__ import annotations

import datetime
import heapq
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.config.fields import NAMES_ALIKE
from proxy.config.instants import INSTANT
from proxy.config.managed import SAYS, Mistake, check_words, read_key, read_team
from proxy.config.secrets import guessable
from proxy.config.settings import KeySettings
from proxy.config.values import KINDS
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.managed import Audit, KeySecret, Managed, State, TenantChange, TenantKind
from proxy.core.spelling import nearest
from proxy.tenants.directory import Directory, said
from proxy.tenants.key import PREFIX, check

CREATED_MAX = 10_000  # keys in one order
SAID_BYTES_MAX = 16 * 1024 * 1024  # of all keys that one order makes
NAME_CHARS_MAX = 64
REASON_CHARS_MAX = 200
LIKE_MAX = 1000  # names that are compared with one that is not known
GRACE_DEFAULT_S = 24 * 3600
_SEEN = "choose another name, or see it with `tollkeeper {} show`"
_CALENDAR_ENDS_S = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC).timestamp()
_LASTS = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d)")


class By(msgspec.Struct, frozen=True):
    """Who gives an order, when, from where and why."""

    actor: str
    origin: str
    at_ms: int
    reason: str | None = None

    def audit(self, action: str, before: Managed | None, after: Managed) -> Audit:
        """The entry for one row."""
        return Audit(
            at_ms=self.at_ms,
            actor=self.actor,
            origin=self.origin,
            action=f"{after.kind}.{action}",
            kind=after.kind,
            name=after.name,
            before=None if before is None else shown(before),
            after=shown(after),
            reason=self.reason,
        )


def create_keys(
    directory: Directory,
    digests: Mapping[str, str],
    says: Mapping[str, Any],
    by: By,
    state: State = State.ACTIVE,
) -> TenantChange:
    """New keys that all say the same; `digests` has the SHA-256 of each name's secret."""
    if not 0 < len(digests) <= CREATED_MAX:
        raise invalid_request(f"One order makes 1 to {CREATED_MAX} keys.", param="count")
    told = _ending(says, by)
    for name in digests:
        _check_new(directory, TenantKind.KEY, name)
    _checked(directory, TenantKind.KEY, next(iter(digests)), told)
    words = _raw(told)
    if len(bytes(words)) * len(digests) > SAID_BYTES_MAX:
        raise invalid_request(
            f"This says {len(bytes(words))} bytes of each of {len(digests)} keys: make fewer at"
            " once, or say it of their team.",
            param="says",
        )
    taken: dict[str, str] = {}
    rows = []
    for name, digest in digests.items():
        _check_digest(digest)
        owner = taken.get(digest) or directory.digests.get(digest)
        if owner is not None:
            raise invalid_request(
                f"The key {owner!r} has this secret already.", param="secret_sha256"
            )
        taken[digest] = name
        rows.append(
            Managed(
                kind=TenantKind.KEY,
                name=name,
                state=state,
                says=words,
                secrets=(KeySecret(digest, by.at_ms),),
                created_at_ms=by.at_ms,
                created_by=by.actor,
            )
        )
    return TenantChange(tuple(rows), tuple(by.audit("create", None, row) for row in rows))


def create_team(
    directory: Directory,
    name: str,
    says: Mapping[str, Any],
    by: By,
    state: State = State.ACTIVE,
) -> TenantChange:
    """A new team."""
    _check_new(directory, TenantKind.TEAM, name)
    _checked(directory, TenantKind.TEAM, name, says)
    row = Managed(
        kind=TenantKind.TEAM,
        name=name,
        state=state,
        says=_raw(says),
        created_at_ms=by.at_ms,
        created_by=by.actor,
    )
    return TenantChange((row,), (by.audit("create", None, row),))


def edit(
    directory: Directory, kind: TenantKind, name: str, says: Mapping[str, Any], by: By
) -> TenantChange:
    """Other words for what `says` names; None takes a word back."""
    row = _own(directory, kind, name)
    if not says:
        words = ", ".join(SAYS[kind])
        raise invalid_request(
            f"This names nothing to change. Name at least one of {words}.", param="says"
        )
    try:
        check_words(kind, says)  # those that are taken back too
    except Mistake as mistake:
        raise invalid_request(f"{mistake}.", param="says") from mistake
    told = {**said(row), **_ending(says, by)}
    told = {field: value for field, value in told.items() if value is not None}
    _checked(directory, kind, name, told)
    return _changed(row, by, "edit", says=_raw(told))


def rotate(
    directory: Directory, name: str, digest: str, by: By, grace_s: float = GRACE_DEFAULT_S
) -> TenantChange:
    """A new secret. The present one is good for `grace_s` seconds more; older ones end now."""
    row = _own(directory, TenantKind.KEY, name)
    _check_digest(digest)
    owner = directory.digests.get(digest)
    if owner is not None:
        raise invalid_request(f"The key {owner!r} has this secret already.", param="secret_sha256")
    until_ms = _later_ms(by.at_ms, grace_s, "grace")
    replace = msgspec.structs.replace
    older = [
        replace(secret, until_ms=min(secret.until_ms or until_ms, until_ms if first else by.at_ms))
        for first, secret in ((secret.until_ms is None, secret) for secret in row.secrets)
    ]
    return _changed(row, by, "rotate", secrets=(KeySecret(digest, by.at_ms), *older))


def suspend(directory: Directory, kind: TenantKind, name: str, by: By) -> TenantChange:
    """Refuses all requests from now on, until `resume`."""
    return _with_state(directory, kind, name, State.SUSPENDED, "suspend", by)


def resume(directory: Directory, kind: TenantKind, name: str, by: By) -> TenantChange:
    """Lets requests through again."""
    return _with_state(directory, kind, name, State.ACTIVE, "resume", by)


def revoke(directory: Directory, kind: TenantKind, name: str, by: By) -> TenantChange:
    """Ends a key for good, or a team with all of its keys. The names are never used again."""
    rows = [_own(directory, kind, name)]
    if kind is TenantKind.TEAM:
        in_config = sorted(key for key, told in directory.config.keys.items() if told.team == name)
        if in_config:
            raise _conflict(
                "team_in_use", f"config.yaml has keys of this team: {', '.join(in_config[:10])}."
            )
        rows += [
            row
            for row in directory.rows.values()
            if row.kind is TenantKind.KEY
            and row.state is not State.REVOKED
            and said(row).get("team") == name
        ]
    changes = [_changed(row, by, "revoke", state=State.REVOKED) for row in rows]
    return TenantChange(
        tuple(row for change in changes for row in change.rows),
        tuple(entry for change in changes for entry in change.audit),
    )


def cutting(what: TenantChange, at_ms: int) -> TenantChange:
    """The same, where each row also orders that what runs for it ends, at all processes."""
    rows = tuple(msgspec.structs.replace(row, cut_at_ms=at_ms) for row in what.rows)
    return TenantChange(rows, what.audit)


def check_reason(text: str | None) -> str | None:
    """The reason as it is kept. Raises ProxyError 400."""
    reason = (text or "").strip()
    if len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise invalid_request(
            f"A reason has at most {REASON_CHARS_MAX} printable characters.", param="reason"
        )
    return reason or None


def check_known(directory: Directory, kind: TenantKind, name: str) -> None:
    """Raises ProxyError 404 for a name that nobody knows."""
    if not directory.in_config(kind, name) and (kind, name) not in directory.rows:
        raise _unknown(directory, kind, name)


def check_secret(text: str) -> None:
    """Raises ProxyError 400 for a secret that no client can send, or that can be guessed."""
    fault = guessable(text)
    if not text.isascii() or not text.isprintable() or text != text.strip():
        fault = "holds characters that no header can carry"
    elif text.startswith(PREFIX) and not check(text):
        fault = "has a typo: its check characters do not fit"
    if fault is not None:
        raise invalid_request(
            f"The secret {fault}. Let the proxy make one, or send another.", param="secret"
        )


def key_of(row: Managed | None) -> KeySettings:
    """What a row says that is no longer in effect, as far as it can be read."""
    told = {} if row is None else said(row)
    team, expires, models = (told.get(field) for field in ("team", "expires", "models"))
    return KeySettings(
        team=team if isinstance(team, str) else None,
        expires=expires if isinstance(expires, str) else None,
        models=tuple(map(str, models)) if isinstance(models, list) else (),
    )


def seconds(text: str, param: str) -> float:
    """The length of `24h` or `90d`. Raises ProxyError 400."""
    try:
        lasts = KINDS["duration"].parse(text)
    except ValueError as error:
        raise invalid_request(f"{param}: {error}.", param=param) from error
    assert isinstance(lasts, int | float), "a duration is a number of seconds"
    return lasts


def shown(row: Managed) -> str:
    """What the audit keeps of a row: all but the secrets."""
    secrets = [
        {"made_at_ms": secret.made_at_ms, "until_ms": secret.until_ms} for secret in row.secrets
    ]
    told = {"state": row.state, **({} if row.file else said(row))}
    return msgspec.json.encode(told | ({"secrets": secrets} if secrets else {})).decode()


def _ending(says: Mapping[str, Any], by: By) -> dict[str, Any]:
    """The words, with `expires: 90d` as the moment that it means. Raises ProxyError 400."""
    told, expires = dict(says), says.get("expires")
    if isinstance(expires, str) and not re.fullmatch(f"{INSTANT}|{_LASTS.pattern}", expires):
        raise invalid_request(
            "expires: expected a day such as 2027-01-31, a time such as 2027-01-31T18:00+02:00, or"
            f" how long from now, such as 90d; found {expires[:80]!r}.",
            param="expires",
        )
    if isinstance(expires, str) and _LASTS.fullmatch(expires):
        at_ms = _later_ms(by.at_ms, seconds(expires, "expires"), "expires")
        moment = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC)
        told["expires"] = moment.isoformat().replace("+00:00", "Z")
    return told


def _later_ms(at_ms: int, after_s: float, param: str) -> int:
    """The moment so many seconds later. Raises ProxyError 400 where no calendar has it."""
    if at_ms / 1000 + after_s >= _CALENDAR_ENDS_S:
        raise invalid_request(f"{param}: this is behind the year 9999.", param=param)
    return at_ms + round(after_s * 1000)


def _check_digest(digest: str) -> None:
    try:
        if not KINDS["sha256"].parse(digest):
            raise ValueError("expected 64 hexadecimal digits, and there are none")
    except ValueError as error:
        raise invalid_request(f"secret_sha256: {error}.", param="secret_sha256") from error


def _check_new(directory: Directory, kind: TenantKind, name: str) -> None:
    try:
        KINDS["name"].parse(name)
    except ValueError as error:
        raise invalid_request(f"name: {error}.", param="name") from error
    if directory.in_config(kind, name):
        raise _conflict(
            f"{kind}_exists", f"config.yaml has a {kind} {name!r}: {_SEEN.format(kind)}."
        )
    row = directory.rows.get((kind, name))
    if row is not None:
        gone = row.state is State.REVOKED
        use = "it is revoked, and names are never used again" if gone else _SEEN.format(kind)
        known = (
            f"config.yaml had a {kind} {name!r}, and its state is kept here: name it there again."
            if row.file
            else f"There is a {kind} {name!r} already: {use}."
        )
        raise _conflict(f"{kind}_exists", known)


def _checked(directory: Directory, kind: TenantKind, name: str, says: Mapping[str, Any]) -> None:
    """Raises ProxyError 400 for words that cannot be used."""
    try:
        if kind is TenantKind.KEY:
            read_key(name, says, directory.settings)
        else:
            read_team(name, says, directory.settings)
    except Mistake as mistake:
        raise invalid_request(f"{mistake}.") from mistake


def _own(directory: Directory, kind: TenantKind, name: str) -> Managed:
    """The row of a name that the database has, and may change."""
    if directory.in_config(kind, name):
        raise _conflict(
            "managed_by_file",
            f"The {kind} {name!r} stands in config.yaml: change it there and reload."
            " Only suspend and resume work on it here.",
        )
    row = directory.rows.get((kind, name))
    if row is None or row.file:
        raise _unknown(directory, kind, name)
    if row.state is State.REVOKED:
        raise _revoked(kind, name)
    return row


def _with_state(
    directory: Directory, kind: TenantKind, name: str, state: State, action: str, by: By
) -> TenantChange:
    row = directory.rows.get((kind, name))
    if directory.in_config(kind, name):
        if row is None:
            row = Managed(kind=kind, name=name, file=True)
        elif row.state is State.REVOKED:
            raise _revoked(kind, name)
    else:
        row = _own(directory, kind, name)
    return _changed(row, by, action, state=state)


def _changed(row: Managed, by: By, action: str, **fields: Any) -> TenantChange:
    after = msgspec.structs.replace(row, **fields)
    return TenantChange((after,), (by.audit(action, row, after),))


def _raw(says: Mapping[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(says, order="sorted"))


def _unknown(directory: Directory, kind: TenantKind, name: str) -> ProxyError:
    known = directory.settings.keys if kind is TenantKind.KEY else directory.settings.teams
    # Of ten thousand names a comparison takes a fifth of a second: those that begin alike do.
    like = heapq.nlargest(LIKE_MAX, known, lambda one: _begin_alike(one, name))
    close = nearest(name[:100], like, NAMES_ALIKE)
    hint = f" The nearest is {close!r}." if close is not None else ""
    return ProxyError(
        404,
        "invalid_request_error",
        f"{kind}_not_found",
        f"There is no {kind} {name[:200]!r}.{hint} `tollkeeper {kind} list` names all.",
        param="name",
    )


def _begin_alike(one: str, other: str) -> int:
    """How many characters they have in common from their beginning."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _revoked(kind: TenantKind, name: str) -> ProxyError:
    return _conflict(f"{kind}_revoked", f"The {kind} {name!r} is revoked for good.")


def _conflict(code: str, message: str) -> ProxyError:
    return ProxyError(409, "invalid_request_error", code, message)
