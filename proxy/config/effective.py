"""The config in force, written as a config again, and the changes that need a restart.

Secrets are masked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import inspect

from proxy.config.fields import yaml_name
from proxy.config.settings import Settings
from proxy.config.values import KINDS
from proxy.system import backends

MASK = "***"
# Open sockets and files, and what their contents were written with: whole blocks, or `block.field`.
NEEDS_RESTART = (
    "listen",
    "metrics",
    "admin.listen",
    "admin.trusted_header",
    "data_dir",
    "instance",
    "log.format",
    "pages.team",
    "pages.admin",
    "timezone",
    "currency",
    "timeouts.header_s",
    "timeouts.keepalive_s",
    "journal",
    "ledger",
    "quota",
)
_TELLING = ("auth", "cookie", "credential", "key", "password", "secret", "signature", "token")
_TELLING_WHOLE = ("hmac", "pass", "pwd", "sas", "sig")  # short words that others contain


def _mask(_secret: str) -> str:
    return MASK


def masked(settings: Settings, hide: Callable[[str], str] = _mask) -> dict[str, object]:
    """The effective config as it would stand in config.yaml, with every default.

    `hide` says what stands in place of a credential: `***`.
    """
    tree = shown(inspect.type_info(Settings), settings, {}, hide)
    assert isinstance(tree, dict)
    return tree


def shown(
    kind: inspect.Type,
    value: object,
    extra: dict[str, object],
    hide: Callable[[str], str] = _mask,
) -> object:
    """A value of the given type as config.yaml would write it.

    `extra` is what its key was declared with.
    """
    if isinstance(kind, inspect.Metadata):
        return shown(kind.type, value, kind.extra or {}, hide)
    if isinstance(kind, inspect.UnionType):
        if value is None:
            return None
        choices = [choice for choice in kind.types if not isinstance(choice, inspect.NoneType)]
        return shown(
            min(
                choices,
                key=lambda choice: (
                    isinstance(choice, inspect.VarTupleType) != isinstance(value, tuple)
                ),
            ),
            value,
            extra,
            hide,
        )
    if isinstance(kind, inspect.StructType):
        pairs = [(field, getattr(value, field.name)) for field in kind.fields]
        return {
            field.encode_name: shown(field.type, item, {}, hide)
            for field, item in pairs
            if item is not None
        }
    if isinstance(kind, inspect.DictType):
        assert isinstance(value, dict)
        return {
            name: _hidden(str(name), shown(kind.value_type, item, {}, hide), hide)
            for name, item in value.items()
        }
    if isinstance(kind, inspect.VarTupleType):
        assert isinstance(value, tuple)
        return [shown(kind.item_type, item, {}, hide) for item in value]
    name = extra.get("kind")
    if name in ("secret", "sha256"):  # a digest of a weak secret can be searched
        return hide(str(value)) if value else ""
    if name == "webhook_url":
        return _without_path(str(value), hide)
    if name == "quota_url":
        return _without_signing(str(value), hide)
    if name == "ledger_url":
        return _without_password(str(value), hide)
    if name == "proxy_url":
        return _without_user(str(value), hide)
    if isinstance(value, Path):
        return str(value)
    if name in ("duration", "size"):
        return KINDS[str(name)].show(value)
    return value


def _hidden(name: str, value: object, hide: Callable[[str], str]) -> object:
    """A header or query parameter whose name says that it is a credential."""
    lower = name.lower()
    telling = any(word in lower for word in _TELLING) or any(
        word in _TELLING_WHOLE for word in re.split("[-_.]", lower)
    )
    return hide(value) if isinstance(value, str) and value and telling else value


def _without_user(url: str, hide: Callable[[str], str]) -> str:
    user = urlsplit(url).netloc.rpartition("@")[0]
    return url.replace(user, hide(user), 1) if "@" in url else url


def _without_signing(url: str, hide: Callable[[str], str]) -> str:
    """The server is told. A password may hold any sign, so it ends at the last `@`."""
    scheme, _, rest = url.partition("://")
    signing, _, place = rest.rpartition("@")
    return f"{scheme}://{hide(url)}@{place}" if signing else url


def _without_password(url: str, hide: Callable[[str], str]) -> str:
    """The database and its user are told. What stands for the password differs with the whole."""
    return backends.masked(url, hide(url))


def _without_path(url: str, hide: Callable[[str], str]) -> str:
    """The host is told, so that one sees which receiver it is; the rest is the credential."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{hide(url)}" if url else ""


def what_needs_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """The changed keys that a running process cannot follow, such as `listen`."""
    differing: list[str] = []
    # Ten thousand keys take half a second to show, and none of these can need a restart.
    before, after = (
        # As they are: another password needs another connection. Nothing of it is shown.
        masked(
            msgspec.structs.replace(one, keys={}, teams={}, prices=(), routes=(), upstreams={}), str
        )
        for one in (old, new)
    )
    for place in NEEDS_RESTART:
        block, _, field = place.partition(".")
        was, now = before.get(block), after.get(block)  # null is left out
        if isinstance(was, dict) and isinstance(now, dict):
            names = [yaml_name(field)] if field else list(was)
            differing += [f"{block}.{name}" for name in names if was.get(name) != now.get(name)]
        elif was != now:
            differing.append(block)
    return tuple(differing)


def carry_over(old: Settings, new: Settings) -> Settings:
    """What a running process can switch to: `new`, with all that needs a restart as in `old`."""
    running = new
    for place in NEEDS_RESTART:
        block, _, field = place.partition(".")
        kept = getattr(old, block)
        if field:
            kept = msgspec.structs.replace(getattr(running, block), **{field: getattr(kept, field)})
        running = msgspec.structs.replace(running, **{block: kept})
    return running
