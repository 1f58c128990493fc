"""Keys and teams at run time, and the audit of what was done to them.

`/admin/v1/keys` and `/admin/v1/teams`: GET lists, POST creates; `…/NAME`: GET, PATCH, DELETE;
`POST …/NAME/rotate`, `/suspend`, `/resume`. `GET /admin/v1/audit?after=SEQ`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from proxy.admin.endpoint import AdminEndpoint, AdminRequest, NoQuery, read
from proxy.admin.reload import CutQuery
from proxy.admin.tenant_views import (
    AuditQuery,
    Deeds,
    Done,
    Edit,
    Keys,
    KeysQuery,
    KeyView,
    MadeKey,
    MadeKeys,
    NewKeys,
    NewTeam,
    Problems,
    Rotation,
    Teams,
    TeamsQuery,
    TeamView,
    Why,
    deed,
    key_view,
    names,
    team_views,
)
from proxy.config.instants import instant_ms
from proxy.core.errors import invalid_request, unavailable
from proxy.core.managed import Carried, State, TenantChange, TenantKind
from proxy.ledger import LedgerError, LedgerUnavailable, Reader
from proxy.tenants import orders
from proxy.tenants.directory import Directory, said
from proxy.tenants.key import KEY_BYTES_MIN, make_key

KEYS_PATH = "/admin/v1/keys"
TEAMS_PATH = "/admin/v1/teams"
AUDIT_PATH = "/admin/v1/audit"
VERIFY_PATH = "/admin/v1/audit/verify"

FEW_KEYS = 100  # of so many, the last use is looked up for each
_NOT_DONE = (404, 409, 503)  # what may be answered of one key or team

Order: TypeAlias = Callable[[Directory], TenantChange]

_LOG = logging.getLogger("tollkeeper.admin")


class Changing(Protocol):
    """Carries out an order, which is written and in effect when it returns."""

    async def __call__(self, order: Order, *, cut: bool = False) -> Carried: ...


class Shown(Protocol):
    """What is shown of keys and teams: the directory in effect, the book, and the time."""

    @property
    def directory(self) -> Directory: ...
    @property
    def reader(self) -> Reader: ...
    def now_ms(self) -> int: ...


def tenant_routes(services: Shown, change: Changing) -> Sequence[AdminEndpoint]:
    """Every route of keys and teams."""
    desk = _TenantDesk(services, change)
    found = [
        AdminEndpoint(
            "GET",
            KEYS_PATH,
            "List the keys by name.",
            desk.list_keys,
            KeysQuery,
            returns=Keys,
            errors=(503,),
        ),
        AdminEndpoint(
            "POST",
            KEYS_PATH,
            "Make a key, or several.",
            desk.create_keys,
            NoQuery,
            NewKeys,
            MadeKeys,
            errors=(409, 422, 503),
            once=True,
        ),
        AdminEndpoint(
            "GET", TEAMS_PATH, "List the teams by name.", desk.list_teams, TeamsQuery, returns=Teams
        ),
        AdminEndpoint(
            "POST",
            TEAMS_PATH,
            "Make a team.",
            desk.create_team,
            NoQuery,
            NewTeam,
            TeamView,
            errors=(409, 422, 503),
            once=True,
        ),
        AdminEndpoint(
            "POST",
            f"{KEYS_PATH}/{{name}}/rotate",
            "Make a new secret for a key.",
            desk.rotate,
            NoQuery,
            Rotation,
            MadeKeys,
            errors=(*_NOT_DONE, 422),
            once=True,
        ),
    ]
    found += _of_one(desk, TenantKind.KEY, KEYS_PATH, KeyView)
    return [*found, *_of_one(desk, TenantKind.TEAM, TEAMS_PATH, TeamView)]


def _of_one(
    desk: _TenantDesk, kind: TenantKind, path: str, view: type[KeyView] | type[TeamView]
) -> Iterator[AdminEndpoint]:
    """The routes of one key or one team."""
    one = f"{path}/{{name}}"
    show, edit = desk.shower(kind), desk.editor(kind)
    yield AdminEndpoint("GET", one, f"Show one {kind}.", show, returns=view, errors=(404, 503))
    about = f"Change what is said of a {kind}."
    yield AdminEndpoint("PATCH", one, about, edit, NoQuery, Edit, Done, errors=_NOT_DONE)
    for method, verb, about, order in (
        ("DELETE", "", f"End a {kind} for good.", orders.revoke),
        ("POST", "/suspend", f"Refuse the requests of a {kind}.", orders.suspend),
        ("POST", "/resume", f"Let the requests of a {kind} through again.", orders.resume),
    ):
        query = NoQuery if order is orders.resume else CutQuery
        give = desk.stater(kind, order)
        yield AdminEndpoint(method, f"{one}{verb}", about, give, query, Why, Done, errors=_NOT_DONE)


def verify_route(services: Shown, key_file: Path) -> AdminEndpoint:
    """Whether the audit is as it was written."""

    async def answer(_ask: AdminRequest) -> Problems:
        return Problems(await read(lambda: services.reader.audit_problems(key_file)))

    return AdminEndpoint(
        "GET",
        VERIFY_PATH,
        "Check that the audit is as it was written.",
        answer,
        returns=Problems,
        errors=(503,),
    )


def audit_route(services: Shown) -> AdminEndpoint:
    """The audit, page by page."""

    async def answer(ask: AdminRequest) -> Deeds:
        query: AuditQuery = ask.query
        entries = await read(lambda: services.reader.audit(query.after, query.limit))
        deeds = [deed(entry) for entry in entries]
        return Deeds(deeds, deeds[-1].seq if len(deeds) == query.limit else None)

    return AdminEndpoint(
        "GET",
        AUDIT_PATH,
        "List what was done, the oldest first.",
        answer,
        AuditQuery,
        returns=Deeds,
        errors=(503,),
    )


class _TenantDesk:
    """Answers the routes: reads the directory in effect, and gives orders."""

    def __init__(self, services: Shown, change: Changing) -> None:
        self._services = services
        self._change = change

    async def list_keys(self, ask: AdminRequest) -> Keys:
        directory = self._services.directory
        query: KeysQuery = ask.query
        team, state, after, most = query.team, query.state, query.after, query.limit

        def page() -> Keys:
            found: list[KeyView] = []
            for name in sorted(names(directory, TenantKind.KEY, query.search)):
                if after is not None and name <= after:
                    continue
                view = key_view(directory, name, {})
                if (team is None or view.team == team) and (state is None or view.state == state):
                    found.append(view)
                    if len(found) > most:
                        break
            shown = found[:most]
            told = [view.name for view in shown]
            used = self._services.reader.last_used_ms(told if len(told) <= FEW_KEYS else None)
            keys = [
                msgspec.structs.replace(view, last_used_ms=used.get(view.name)) for view in shown
            ]
            return Keys(keys, keys[-1].name if len(found) > most else None)

        return await read(page)

    async def list_teams(self, ask: AdminRequest) -> Teams:
        directory, query = self._services.directory, ask.query

        def page() -> Teams:
            known = sorted(names(directory, TenantKind.TEAM, query.search))
            found = [name for name in known if name > query.after][: query.limit + 1]
            views = team_views(directory, found[: query.limit])
            return Teams(views, views[-1].name if len(found) > query.limit else None)

        return await asyncio.to_thread(page)

    async def create_keys(self, ask: AdminRequest) -> MadeKeys:
        order: NewKeys = ask.body
        wanted = (
            [order.name]
            if order.count is None
            else [f"{order.name}-{number}" for number in range(1, _checked_count(order) + 1)]
        )
        # In a thread: ten thousand secrets are a tenth of a second of work.
        made = await asyncio.to_thread(
            lambda: {name: _secret(order.secret, order.secret_sha256) for name in wanted}
        )
        digests = {name: digest for name, (_, digest) in made.items()}
        by = self._by(ask, order.reason)

        def made_here(now: Directory) -> TenantChange:
            change = orders.create_keys(now, digests, order.says, by)
            _check_lasts(said(change.rows[0]).get("expires"), now.settings.timezone, by.at_ms)
            return change

        await self._carry_out(made_here)
        return MadeKeys([MadeKey(name, secret) for name, (secret, _) in made.items()])

    async def create_team(self, ask: AdminRequest) -> TeamView:
        order: NewTeam = ask.body
        by = self._by(ask, order.reason)
        await self._carry_out(lambda now: orders.create_team(now, order.name, order.says, by))
        [made] = team_views(self._services.directory, [order.name])
        return made

    async def rotate(self, ask: AdminRequest) -> MadeKeys:
        order, name = ask.body, ask.path["name"]
        secret, digest = _secret(order.secret, order.secret_sha256)
        grace_s = orders.seconds(order.grace, "grace")
        by = self._by(ask, order.reason)
        await self._carry_out(lambda now: orders.rotate(now, name, digest, by, grace_s))
        return MadeKeys([MadeKey(name, secret)])

    def shower(self, kind: TenantKind) -> Callable[[AdminRequest], Awaitable[object]]:
        async def show(ask: AdminRequest) -> KeyView | TeamView:
            directory, name = self._services.directory, ask.path["name"]
            orders.check_known(directory, kind, name)
            if kind is TenantKind.TEAM:
                [found] = await asyncio.to_thread(team_views, directory, [name])
                return found
            used = await read(lambda: self._services.reader.last_used_ms([name]))
            return key_view(directory, name, used)

        return show

    def editor(self, kind: TenantKind) -> Callable[[AdminRequest], Awaitable[object]]:
        async def edit(ask: AdminRequest) -> Done:
            order, name = ask.body, ask.path["name"]
            by = self._by(ask, order.reason)
            return await self._carry_out(lambda now: orders.edit(now, kind, name, order.says, by))

        return edit

    def stater(
        self,
        kind: TenantKind,
        order: Callable[[Directory, TenantKind, str, orders.By], TenantChange],
    ) -> Callable[[AdminRequest], Awaitable[object]]:
        async def give(ask: AdminRequest) -> Done:
            name, by = ask.path["name"], self._by(ask, ask.body.reason)
            cut = isinstance(ask.query, CutQuery) and ask.query.cut
            done = await self._carry_out(lambda now: order(now, kind, name, by), cut)
            if order is orders.resume and kind is TenantKind.KEY:
                refused = self._still_refused(name)
                return msgspec.structs.replace(done, still_refused=refused)
            return done

        return give

    def _still_refused(self, name: str) -> dict[str, str]:
        view = key_view(self._services.directory, name, {})
        if view.fault is not None:
            return {name: view.fault}
        if view.state != State.ACTIVE:
            state = view.state.removeprefix("team ")
            return {name: f"its team {view.team!r} is {state}; resume that too"}
        return {}

    def _by(self, ask: AdminRequest, reason: str | None) -> orders.By:
        return order_by(self._services, ask, reason)

    async def _carry_out(self, order: Order, cut: bool = False) -> Done:
        return await carry_out(self._change, order, cut=cut)


def order_by(services: Shown, ask: AdminRequest, reason: str | None) -> orders.By:
    """Who gives the order of this request. Raises ProxyError 400 for a reason that is none."""
    return orders.By(
        actor=ask.asker.name,
        origin=ask.origin,
        at_ms=services.now_ms(),
        reason=orders.check_reason(reason),
    )


async def carry_out(change: Changing, order: Order, *, cut: bool = False) -> Done:
    """Writes an order and logs it. Raises the order's ProxyError, or 503."""
    try:
        carried = await change(order, cut=cut)
    except (LedgerError, LedgerUnavailable) as error:
        raise unavailable(
            "ledger_unavailable",
            f"This cannot be written now ({error}); nothing was changed.",
        ) from error
    for entry in carried.change.audit[:100]:
        why = "" if entry.reason is None else f": {entry.reason}"
        _LOG.info("%s: %s %s%s", entry.actor, entry.action, entry.name, why)
    return Done([row.name for row in carried.change.rows], carried.ended)


def _secret(given: str | None, sha256: str | None) -> tuple[str | None, str]:
    """The secret to show, and its SHA-256: new, or as it was given."""
    if given is not None and sha256 is not None:
        raise invalid_request("Say either secret or secret_sha256, not both.", param="secret")
    if sha256 is not None:
        return None, sha256
    if given is not None:
        orders.check_secret(given)
        return None, hashlib.sha256(given.encode()).hexdigest()
    secret = make_key(secrets.token_bytes(KEY_BYTES_MIN))
    return secret, hashlib.sha256(secret.encode()).hexdigest()


def _checked_count(order: NewKeys) -> int:
    if order.secret is not None or order.secret_sha256 is not None:
        raise invalid_request("Several keys cannot share one secret.", param="count")
    if order.count is None or not 1 <= order.count <= orders.CREATED_MAX:
        raise invalid_request(f"count is 1 to {orders.CREATED_MAX}.", param="count")
    return order.count


def _check_lasts(expires: Any, zone: str, now_ms: int) -> None:
    """Raise ProxyError 400 for a new key that ended before it began."""
    if expires is not None and instant_ms(expires, zone) <= now_ms:
        message = f"expires: {expires} is past, so no request could use the key. Name a later day."
        raise invalid_request(message, param="expires")
