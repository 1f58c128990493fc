"""Warns of proxies that the environment names: only the config's own are used."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from proxy.config.settings import Settings


def unused_proxies(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each proxy variable that other programs would follow to an upstream of ours.

    Upstreams with a proxy of their own do not count. The variable is set for other programs. That
    billed traffic takes another way has to be said in the config.
    """
    ways: dict[str, list[str]] = {}
    for name, upstream in settings.upstreams.items():
        parts = urlsplit(upstream.base_url)
        if (
            upstream.proxy
            or not parts.hostname
            or _is_near(parts.hostname)
            or _is_excepted(parts.hostname, environ)
        ):
            continue
        variable = _set(environ, f"{parts.scheme}_proxy") or _set(environ, "all_proxy")
        if variable is not None:
            ways.setdefault(variable, []).append(name)
    for variable, names in ways.items():
        where = f"upstreams.{names[0]}.proxy" + (
            f" (also of {', '.join(names[1:])})" if len(names) > 1 else ""
        )
        yield (
            f"{variable} is set in the environment and not used: if it is the way to the vendor,"
            f' set {where}: "${{{variable}}}"; if not, nothing is to be done'
        )


def _set(environ: Mapping[str, str], name: str) -> str | None:
    """The variable's name as it is spelt, if it is set to something."""
    return next((spelt for spelt in (name, name.upper()) if environ.get(spelt)), None)


def _is_excepted(host: str, environ: Mapping[str, str]) -> bool:
    spelt = _set(environ, "no_proxy")
    excepted = (
        [entry.strip().lower().lstrip("*").lstrip(".") for entry in environ[spelt].split(",")]
        if spelt is not None
        else []
    )
    starred = spelt is not None and environ[spelt].strip() == "*"
    return starred or any(
        entry and (host == entry or host.endswith(f".{entry}")) for entry in excepted
    )


def _is_near(host: str) -> bool:
    """This machine, which no proxy leads to."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
