"""Who made what at a vendor."""

from __future__ import annotations

from proxy.dataplane.owners import Owners


def test_an_object_belongs_to_the_team_or_to_a_key_without_one() -> None:
    owners = Owners()
    owners.learn("v", "research", "alice", ["file-1", "file-2"])
    owners.learn("v", None, "carl", ["file-3"])
    assert owners.owns("v", "research", "amy", "file-1")
    assert not owners.owns("v", "sales", "bob", "file-1")
    assert not owners.owns("other", "research", "alice", "file-1")
    assert owners.owns("v", None, "carl", "file-3")
    assert not owners.owns("v", "carl", "x", "file-3"), "a team of a key's name is no such key"
    assert owners.anothers("v", "sales", "bob", "file-1")
    assert not owners.anothers("v", "research", "amy", "file-1")
    assert not owners.anothers("v", "sales", "bob", "file-9")


def test_the_first_who_made_it_keeps_it_and_the_oldest_are_forgotten() -> None:
    owners = Owners(most=2)
    owners.learn("v", "a", "k", ["1"])
    owners.learn("v", "b", "k", ["1", "2", "3"])
    assert len(owners) == 2
    assert not owners.owns("v", "a", "k", "1") and owners.owns("v", "b", "k", "3")


def test_an_id_that_a_vendor_gives_again_is_everybodys_where_that_can_be() -> None:
    owners = Owners(repeated=True)
    owners.learn("v", "a", "k", ["msg_0", "msg_1"])
    assert owners.anothers("v", "b", "k", "msg_0")
    owners.learn("v", "b", "k", ["msg_0"])
    for team in ("a", "b", "c"):
        assert owners.owns("v", team, "k", "msg_0")
        assert not owners.anothers("v", team, "k", "msg_0")
    assert owners.anothers("v", "b", "k", "msg_1")


def test_what_was_learned_meanwhile_comes_behind_what_the_book_says() -> None:
    book, meanwhile = Owners(), Owners()
    book.learn("mock", "research", "alice", ["file-1"])
    meanwhile.learn("mock", None, "bob", ["file-1", "file-2"])
    book.learn_all(meanwhile)
    assert book.owns("mock", "research", "carol", "file-1")
    assert book.owns("mock", None, "bob", "file-2")
