"""A listener's addresses: one or several, and `[::]` for both families."""

from __future__ import annotations

import asyncio
import errno
import socket

ANY_V6 = "::"
BACKLOG = 2048  # connections the kernel holds for us while the loop is busy


def both_families(host: str, port: int) -> socket.socket | None:
    """A socket for IPv4 and IPv6 where the host is `::`, which alone is IPv6 only.

    None for another host. OSError if the socket cannot be opened.
    """
    if host != ANY_V6:
        return None
    if not socket.has_dualstack_ipv6():
        raise OSError(None, "this machine has no IPv6: write 0.0.0.0 for all of its addresses")
    opened = socket.create_server(
        (host, port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
    )
    opened.setblocking(False)
    return opened


async def sockets_at(host: str, port: int) -> list[socket.socket]:
    """The listening sockets of one address: several where its name has several addresses.

    OSError if one cannot be opened.
    """
    opened = both_families(host, port)
    if opened is not None:
        return [opened]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in dict.fromkeys(
            (family, address) for family, _, _, _, address in found
        ):
            try:
                sockets.append(socket.create_server(address, family=family, backlog=BACKLOG))
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                absent = error  # `localhost` stands for ::1 on machines that have none
        if absent is not None and not sockets:
            raise absent
    except OSError:
        for one in sockets:
            one.close()
        raise
    for one in sockets:
        one.setblocking(False)
    return sockets


def shown(address: tuple[str, int]) -> str:
    """`127.0.0.1:8790` or `[::]:8790`, as a URL writes it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
