"""End users: what the ledger stores of them, and what an erased salt leaves."""

from __future__ import annotations

import pytest

from proxy.accounting.end_users import EndUsers


def counted(size: int) -> bytes:
    """Salts that are no secret, so that a test repeats."""
    return b"s" * size


def test_modes() -> None:
    assert EndUsers("off", b"k", {}).hash("ann") is None
    assert EndUsers("plain", b"k", {}).hash("ann") == "ann"
    for mode in ("off", "plain", "hash"):
        assert EndUsers(mode, b"k", {}).hash(None) is None


def test_a_user_keeps_one_hash_and_others_get_others() -> None:
    users = EndUsers("hash", b"k", {})
    ann, bob = users.hash("ann"), users.hash("bob")
    assert ann is not None
    assert bob is not None
    assert len(ann) == 32
    assert int(ann, 16) >= 0
    assert users.hash("ann") == ann != bob
    assert (
        EndUsers("hash", b"k", {}).hash("ann") != ann
    )  # another salt: nothing but the salt leads from the name to the hash
    assert EndUsers("hash", b"k", {}, random_bytes=counted).hash("ann") == EndUsers(
        "hash", b"other", {}, random_bytes=counted
    ).hash("ann")


def test_new_salts_are_handed_out_once_and_survive_a_restart() -> None:
    users = EndUsers("hash", b"k", {})
    ann = users.hash("ann")
    users.hash("ann")
    salts = users.new_salts()
    assert len(salts) == 1
    assert users.new_salts() == []
    assert "ann" not in salts[0][0]
    again = EndUsers("hash", b"k", dict(salts))
    assert again.hash("ann") == ann
    assert again.new_salts() == []


def test_an_erased_salt_makes_a_user_new() -> None:
    users = EndUsers("hash", b"k", {})
    ann = users.hash("ann")
    users.new_salts()  # stored, then deleted on request
    assert EndUsers("hash", b"k", {}).hash("ann") != ann


def test_users_are_bounded() -> None:
    users = EndUsers("hash", b"k", {}, users_max=2)
    hashes = [users.hash(name) for name in ("a", "b", "c", "a")]
    assert hashes[2] is None
    assert hashes[3] == hashes[0] is not None
    assert users.dropped == 1
    assert len(users.new_salts()) == 2


def test_a_hash_needs_a_key() -> None:
    with pytest.raises(AssertionError, match="key"):
        EndUsers("hash", b"", {})


def test_a_forgotten_user_gets_another_hash_and_its_old_salt_is_not_stored() -> None:
    users = EndUsers("hash", b"k", {})
    ann, bob = users.hash("ann"), users.hash("bob")
    users.forget("ann")
    users.forget("nobody")
    assert users.salt("ann") is None and users.salt("bob") is not None
    assert users.new_salts() == [(users.lookup("bob"), users.salt("bob"))]
    assert users.hash("ann") not in (ann, None) and users.hash("bob") == bob
    assert users.new_salts() == [(users.lookup("ann"), users.salt("ann"))]
    users.store_again("ann")
    users.store_again("nobody")
    assert users.new_salts() == [(users.lookup("ann"), users.salt("ann"))]


def test_salts_that_a_ledger_lacks_are_handed_out_again() -> None:
    users = EndUsers("hash", b"k", {})
    for name in ("ann", "bob"):
        users.hash(name)
    [ann, bob] = users.new_salts()
    users.hash("cy")
    users.store_missing(dict([ann]))
    assert sorted(users.new_salts()) == sorted([bob, (users.lookup("cy"), users.salt("cy"))])


def test_nobody_is_stored_while_the_salts_cannot_be_read() -> None:
    """Another salt would make another user of one that the ledger knows."""
    before = EndUsers("hash", b"k", {})
    ann = before.hash("ann")
    users = EndUsers("hash", b"k", None)
    assert users.hash("ann") is None and users.new_salts() == []
    users.know(dict(before.new_salts()))
    assert users.hash("ann") == ann
    assert EndUsers("plain", b"k", None).hash("ann") == "ann"
