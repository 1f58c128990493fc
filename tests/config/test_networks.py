"""An address is in the networks that are named, whatever family its socket has."""

from __future__ import annotations

import pytest

from proxy.config.networks import is_within, network

NETWORKS = ("10.0.0.0/8", "192.0.2.7", "fd00::/8", "::1")


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("fd12::1%eth0", True),
        ("::1", True),
        ("127.0.0.1", False),
        ("", False),
        (None, False),
        ("10.0.0.1, 11.0.0.1", False),
        ("unix:", False),
    ],
)
def test_whether_an_address_is_within(address: str | None, inside: bool) -> None:
    assert is_within(address, NETWORKS) is inside
    assert not is_within(address, ())


def test_what_is_no_network_says_what_to_write() -> None:
    for wrong in ("10.0.0.5/8", "x", ""):
        with pytest.raises(ValueError, match=r"expected a network such as 10\.0\.0\.0/8"):
            network(wrong)
