"""Where a listener listens: one address or several, and `[::]` for both families of addresses."""

from __future__ import annotations

import socket

from aiohttp import web

ANY_V6 = "::"
BACKLOG = 2048  # connections the kernel holds for us while the loop is busy


def both_families(host: str, port: int) -> socket.socket | None:
    """A socket for IPv4 and IPv6 where the host is `::`, which alone would be IPv6 only; else None. OSError if it cannot be opened."""
    if host != ANY_V6:
        return None
    if not socket.has_dualstack_ipv6():
        raise OSError(None, "this machine has no IPv6: write 0.0.0.0 for all of its addresses")
    opened = socket.create_server((host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    opened.setblocking(False)
    return opened


def site_at(runner: web.BaseRunner, host: str, port: int) -> web.BaseSite:
    """An aiohttp site for one address."""
    opened = both_families(host, port)
    return web.TCPSite(runner, host, port) if opened is None else web.SockSite(runner, opened)


def shown(address: tuple[str, int]) -> str:
    """`127.0.0.1:8790` or `[::]:8790`, as a URL writes it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
