"""Finds mistakes that only the whole config shows.

Names that do not exist, and values that contradict each other.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

import msgspec

from proxy.config import aliases, mistakes, passed, prices, receivers
from proxy.config import limits as rules
from proxy.config.nodes import Problem
from proxy.config.secrets import guessable, other_syntax
from proxy.config.settings import Settings, addresses_of
from proxy.config.values import leads_to
from proxy.core.http.headers import is_credential
from proxy.core.http.hostnames import is_private
from proxy.core.model_names import matches
from proxy.core.spelling import nearest

LATIN_1_MAX = 0xFF  # header values are Latin-1
# Headers of browsers, which say nothing of who has signed in.
_OWN_HEADERS = frozenset("accept cookie host origin referer user-agent".split())
QUOTA_STATUSES = (429, 402, 403)
# Chains of a shared ledger that are no process's.
RESERVED_INSTANCES = ("adjustments", "copied")
JOURNAL_SEGMENTS_MIN = 4  # the one written, its spare, one being booked and one kept


def problems(
    settings: Settings, where: Mapping[str, str], wrong: Collection[str] = ()
) -> list[Problem]:
    """Contradictions inside a config; `where` maps a path to its file and line.

    `wrong`: the paths of values that cannot be read, which have their defaults in `settings`
    """
    found: list[Problem] = []

    def problem(path: str, text: str) -> None:
        found.append(Problem(_place(where, path), path, text))

    for index, row in enumerate(settings.images):
        if (row.patch is None) == (row.base is None and row.tile is None) or (row.base is None) != (
            row.tile is None
        ):
            problem(
                f"images[{index}]",
                "say either base and tile (tiles of 512 px) or patch (patches of 32 px)",
            )
    if settings.quota_status not in QUOTA_STATUSES:
        problem("quota_status", "expected 429, 402 or 403")
    if settings.instance in RESERVED_INSTANCES:
        problem("instance", "the ledger has a chain of this name already; choose another")
    is_alone = settings.ledger.url.startswith("sqlite:") and "ledger.url" not in wrong
    if settings.quota.url != "memory:" and is_alone:
        problem(
            "quota.url",
            "a quota that several processes share needs a ledger that they share, since counts are"
            " restored from it: write ledger.url: postgresql://…, or quota.url: memory:",
        )
    if settings.journal.adopt and is_alone:
        problem(
            "journal.adopt",
            "only a ledger that several processes share tells which of them are silent: write"
            " ledger.url: postgresql://…, or leave this off",
        )
    for check in (
        _references,
        _upstreams,
        _keys,
        _admin,
        _oidc,
        _themselves,
        _sizes,
        rules.check,
        passed.check,
        aliases.check,
    ):
        check(settings, problem)
    prices.check(settings, where, problem)
    receivers.check(settings, where, problem)
    return found


def _place(where: Mapping[str, str], path: str) -> str:
    """The file and line of a path, or of the closest block around it that the file names."""
    while path and path not in where:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return where.get(path, "")


def _unknown(kind: str, name: str, known: Mapping[str, object]) -> str:
    close = nearest(name, known)
    return f"there is no {kind} {name!r}; " + (
        f"the nearest known one is {close}" if close is not None else f"add it under {kind}s"
    )


def _references(settings: Settings, problem: Callable[[str, str], None]) -> None:
    if not settings.upstreams:
        problem(
            "upstreams",
            "none; add at least one vendor, such as openai: {base_url: https://api.openai.com/v1,"
            ' api_key: "${OPENAI_API_KEY}"}',
        )
    elif not settings.routes:
        problem(
            "routes",
            'none, so every model would be unknown; add {model: "*", upstream:'
            f" {next(iter(settings.upstreams))}}}",
        )
    named = [
        (f"routes[{index}].upstream", route.upstream) for index, route in enumerate(settings.routes)
    ]
    named += [
        (f"passthrough[{index}].upstream", entry.upstream)
        for index, entry in enumerate(settings.passthrough)
    ]
    named += [
        (f"prices[{index}].upstream", row.upstream)
        for index, row in enumerate(settings.prices)
        if row.upstream is not None
    ]
    for path, name in named:
        if name and name not in settings.upstreams:
            problem(path, _unknown("upstream", name, settings.upstreams))
    for name, key in settings.keys.items():
        if key.team is not None and key.team not in settings.teams:
            problem(f"keys.{name}.team", _unknown("team", key.team, settings.teams))
    if not addresses_of(settings):
        problem("listen", "an empty list: nobody could ask; write 127.0.0.1:8790")
    first_at: dict[str, str] = {}
    for path, listen in _listeners(settings):
        if listen in first_at and not listen.endswith(":0"):
            problem(
                path, f"the address {listen} is also {first_at[listen]}; give each its own port"
            )
        first_at.setdefault(listen, path)


def _listeners(settings: Settings) -> Iterator[tuple[str, str]]:
    """(path, address) of each address that is listened on."""
    for index, listen in enumerate(addresses_of(settings)):
        yield "listen" if isinstance(settings.listen, str) else f"listen[{index}]", listen
    yield "metrics.listen", settings.metrics.listen
    yield "admin.listen", settings.admin.listen


def _upstreams(settings: Settings, problem: Callable[[str, str], None]) -> None:
    for name, upstream in settings.upstreams.items():
        if upstream.auth == "forward" and upstream.api_key:
            problem(
                f"upstreams.{name}.api_key",
                "is never sent under auth: forward; remove it, or write auth: own",
            )
        if any(ord(character) > LATIN_1_MAX for character in upstream.api_key):
            problem(
                f"upstreams.{name}.api_key",
                "holds a character that no header can carry; check what was pasted",
            )
        for index, header in enumerate(upstream.allow_request_headers):
            if is_credential(header):
                reason = (
                    "holds the caller's key for this proxy, which no vendor may see; remove it"
                    " (under auth: forward the caller's own credential passes unnamed)"
                )
                problem(f"upstreams.{name}.allow_request_headers[{index}]", f"{header} {reason}")
        if upstream.ca_file is not None:
            try:
                ssl.create_default_context(cafile=upstream.ca_file)
            except ssl.SSLError:
                problem(
                    f"upstreams.{name}.ca_file",
                    f"{upstream.ca_file} holds no certificate in PEM; convert it, or name the right"
                    " file",
                )
            except OSError as error:
                problem(
                    f"upstreams.{name}.ca_file",
                    f"cannot read {upstream.ca_file}: {error.strerror}; check the path and its"
                    " permissions",
                )


def _keys(settings: Settings, problem: Callable[[str, str], None]) -> None:
    owner_of: dict[str, str] = {}
    for name, key in settings.keys.items():
        path = f"keys.{name}"
        if name.startswith("fwd-"):
            problem(
                path, "names that begin with fwd- stand for forwarded credentials; choose another"
            )
        if key.role == "lead" and key.team is None:
            problem(f"{path}.role", "a lead reads what its team uses, so name its team")
        if key.secret and key.secret_sha256:
            problem(f"{path}.secret_sha256", "say either the secret or its SHA-256, not both")
        digest = (
            hashlib.sha256(key.secret.encode()).hexdigest() if key.secret else key.secret_sha256
        )
        if digest and digest in owner_of:
            problem(
                path,
                f"has the same secret as keys.{owner_of[digest]}; make one with `tollkeeper key"
                " hash --new`",
            )
        owner_of.setdefault(digest, name)


def _admin(settings: Settings, problem: Callable[[str, str], None]) -> None:
    """Refuses a token of the admin API that can be guessed: it can change prices and budgets."""
    for name, token in settings.admin.tokens.items():
        path = f"admin.tokens.{name}.token"
        if (fault := other_syntax(token.token)) is not None:
            problem(path, fault)
        elif token.token and (why := guessable(token.token)) is not None:
            problem(path, f"{why}, so it can be guessed; make one with `openssl rand -hex 32`")
    admin = settings.admin
    if admin.trusted_header is not None:
        if not admin.trusted_from:
            problem(
                "admin.trusted_header",
                "anybody could send it; name the addresses of the server in front in"
                " admin.trusted_from",
            )
        if is_credential(admin.trusted_header) or admin.trusted_header.lower() in _OWN_HEADERS:
            problem("admin.trusted_header", "every browser sends it; choose another")
        for index, place in enumerate(admin.trusted_from):
            if place.endswith("/0"):
                problem(
                    f"admin.trusted_from[{index}]",
                    "is every address, so that anybody could say who they are; name the server's",
                )
    elif admin.trusted_from or admin.trusted_admins:
        problem(
            "admin.trusted_from" if admin.trusted_from else "admin.trusted_admins",
            "holds only with admin.trusted_header; name the header, or remove this",
        )


def _oidc(settings: Settings, problem: Callable[[str, str], None]) -> None:
    oidc = settings.admin.oidc
    if not oidc.issuer:
        return
    for name, url in (("issuer", oidc.issuer), ("redirect", oidc.redirect)):
        parts = urlsplit(url)
        safe = parts.scheme == "https" or is_private(parts.hostname or "")
        if parts.scheme not in ("http", "https") or not parts.hostname or not safe:
            problem(f"admin.oidc.{name}", "expected https://…, or http:// to a private host")
    if not oidc.redirect.endswith("/ui/oidc"):
        problem("admin.oidc.redirect", "has to end with /ui/oidc, where the answer is taken")
    for name in ("client_id", "client_secret"):
        if not getattr(oidc, name):
            problem(f"admin.oidc.{name}", "is empty; register these pages with the provider")
    if find_spec("authlib") is None:
        problem("admin.oidc", "needs a package that is missing: pip install 'tollkeeper[oidc]'")


def _themselves(settings: Settings, problem: Callable[[str, str], None]) -> None:
    """An upstream that is this proxy would only send requests round."""
    for name, upstream in settings.upstreams.items():
        for place, listen in _listeners(settings):
            if upstream.base_url and leads_to(upstream.base_url, listen):
                problem(
                    f"upstreams.{name}.base_url",
                    f"is this proxy itself ({place}: {listen}); write the vendor's, or give one of"
                    " them another port",
                )


def _sizes(settings: Settings, problem: Callable[[str, str], None]) -> None:
    if settings.bodies.max_bytes > settings.bodies.total_max_bytes:
        problem("bodies.max", "is larger than bodies.total_max; one such body could never be taken")
    least = JOURNAL_SEGMENTS_MIN * settings.journal.segment_bytes
    if settings.journal.size_max_bytes < least:
        problem(
            "journal.size_max",
            f"must hold at least {JOURNAL_SEGMENTS_MIN} segments of journal.segment: {least} bytes",
        )


def warnings(settings: Settings, now_ms: int) -> list[str]:
    """Tells of what starts and will surprise.

    Disabled keys, upstreams without a key, routes never reached, and usual mistakes.
    """
    found = []
    routed = {route.upstream for route in settings.routes}
    for name, upstream in settings.upstreams.items():
        own_header = any(map(is_credential, upstream.headers))  # stands in for api_key
        if upstream.auth == "own" and not upstream.api_key and not own_header and name in routed:
            found.append(
                f"upstreams.{name}.api_key is empty: requests to it answer 503"
                " upstream_not_configured"
            )
    usable = False
    for name, key in settings.keys.items():
        if key.secret or key.secret_sha256:
            usable = True
        else:
            found.append(f"keys.{name} has no secret: the key is disabled")
    if not usable and not any(
        upstream.auth == "forward" for upstream in settings.upstreams.values()
    ):
        found.append(
            "keys: none has a secret: every request answers 401, but for keys that are made with"
            " `tollkeeper key create`"
        )
    for index, route in enumerate(settings.routes):
        before = next(
            (earlier for earlier in settings.routes[:index] if matches(earlier.model, route.model)),
            None,
        )
        if before is not None:
            found.append(
                f"routes[{index}] ({route.model}) is never reached: {before.model} before it"
                " matches the same models"
            )
    found += prices.warnings(settings)
    found += mistakes.warnings(settings, now_ms)
    found += passed.warnings(settings)
    found += receivers.warnings(settings)
    return found


def digests_only(settings: Settings) -> Settings:
    """The same settings with each key's secret replaced by its SHA-256.

    From here on nothing can print the secret.
    """
    keys = {
        name: (
            msgspec.structs.replace(
                key, secret="", secret_sha256=hashlib.sha256(key.secret.encode()).hexdigest()
            )
            if key.secret
            else key
        )
        for name, key in settings.keys.items()
    }
    return msgspec.structs.replace(settings, keys=keys)
