"""The Host header as a defence against DNS rebinding: may a web page have made this request?

A page reaches a listener on this machine or network under a name of its own that it points here.
Such a name is in the public DNS. So an address is safe, and so is a name that no public DNS has.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

# Names that are reserved, or that clusters use, and that nobody can register.
_PRIVATE = ("localhost", "local", "internal", "home.arpa", "svc", "cluster.local")


def bare(host: str) -> str:
    """The name or address in a Host header, without its port, in lower case."""
    name, _, port = host.rpartition(":")
    named = name if port.isdigit() and name else host
    return named.lower().removeprefix("[").removesuffix("]")


def is_address(name: str) -> bool:
    """Whether this is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_ours(host: str, own: Collection[str]) -> bool:
    """Whether the Host header can only be meant for us: `own` names, an address, a private name."""
    name = bare(host).removesuffix(".")
    if not name:
        return False
    known = {each.lower() for each in own}
    return name in known or "*" in known or is_address(name) or _is_private_name(name)


def is_private(host: str) -> bool:
    """Whether this name or address can only be of this machine or a private network."""
    name = host.lower().removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _is_private_name(name)
    return address.is_private or address.is_loopback


def _is_private_name(name: str) -> bool:
    return "." not in name or name.endswith(tuple(f".{suffix}" for suffix in _PRIVATE))
