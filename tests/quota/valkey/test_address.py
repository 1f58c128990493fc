"""A server's address as operators write it."""

from __future__ import annotations

import ssl

import pytest

from proxy.quota.valkey.address import address


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("valkey://h", ("h", 6379, 0, False, None, None)),
        ("redis://10.0.0.7:6380/15", ("10.0.0.7", 6380, 15, False, None, None)),
        ("valkeys://h/", ("h", 6379, 0, True, None, None)),
        ("rediss://:secret@h:1", ("h", 1, 0, True, None, "secret")),
        ("valkey://alice:secret@h/2", ("h", 6379, 2, False, "alice", "secret")),
        ("valkey://:p@ss/w#r?d:x@h:7", ("h", 7, 0, False, None, "p@ss/w#r?d:x")),
        ("valkey://:p%40ss%25@h", ("h", 6379, 0, False, None, "p@ss%")),
        ("valkey://:100%@h", ("h", 6379, 0, False, None, "100%")),
        ("valkey://:密码@h", ("h", 6379, 0, False, None, "密码")),
        ("valkey://:a+b c@h", ("h", 6379, 0, False, None, "a+b c")),
        ("valkey://:@h", ("h", 6379, 0, False, None, "")),
        ("valkey://[::1]:7/0", ("::1", 7, 0, False, None, None)),
        ("valkey://a-b.c_d.example:7", ("a-b.c_d.example", 7, 0, False, None, None)),
    ],
)
def test_what_a_url_names(url: str, found: tuple[object, ...]) -> None:
    here = address(url)
    assert (here.host, here.port, here.database, here.tls, here.user, here.password) == found


@pytest.mark.parametrize(
    "url",
    "valkey: valkey:/h valkey:// valkey://h:0 valkey://h:65536 valkey://h:x valkey://h/x"
    " valkey://h/0/1 valkey://h?db=1 valkey://h#1 http://h valkey://secret@h valkey://::1"
    " valkey://h1,h2 valkey+unix:///s".split(),
)
def test_what_is_no_address_is_told_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected valkey://") as told:
        address(url)
    assert "secret" not in str(told.value)


def test_a_password_is_never_shown() -> None:
    here = address("valkeys://alice:secret@h/3")
    assert str(here) == repr(here) == "valkeys://h:6379/3"
    assert str(address("valkey://:secret@[::1]")) == "valkey://[::1]:6379/0"


def test_tls_checks_the_certificate_and_the_name() -> None:
    context = address("valkeys://h").security()
    assert context is not None
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert address("valkey://h").security() is None
