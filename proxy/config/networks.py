"""Networks that config.yaml names, and whether an address is in one of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


def network(text: str) -> str:
    """A network or an address, as it was written. Raises ValueError with what to write."""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            "expected a network such as 10.0.0.0/8, whose bits behind the prefix are 0, or an"
            " address such as 10.0.0.5"
        ) from error
    return text


def is_within(address: str | None, networks: Iterable[str]) -> bool:
    """Whether a connection's address is in one of these. One that is not known is in none.

    An IPv4 address that came to a socket of both families is the IPv4 address.
    """
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(each) for each in networks)
