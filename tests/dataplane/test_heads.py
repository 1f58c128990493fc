"""Heads that are not whole are counted together, and shed where they are too many; whole ones that
are alike are kept once."""

from __future__ import annotations

from proxy.core.http.request_head import RequestHead
from proxy.dataplane.heads import HEADS_MAX, Heads


def test_too_many_bytes_are_shed_when_more_come_and_never_when_some_go() -> None:
    shed: list[int] = []
    heads = Heads(lambda: shed.append(heads.size_bytes))
    heads.change(HEADS_MAX)
    assert shed == []
    heads.change(1)
    heads.change(0)
    heads.change(-1)
    assert shed == [HEADS_MAX + 1] and heads.size_bytes == HEADS_MAX


def learned(key: bytes) -> RequestHead:
    fields = (b"Authorization", key), (b"Content-Length", b"2")
    head = RequestHead("POST", "/x", (1, 1), fields)
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    assert head.learn(b"POST /x HTTP/1.1\r\n%b\r\n{}" % lines) is not None
    return head


def test_a_head_of_the_same_bytes_is_kept_once_while_a_connection_has_it() -> None:
    heads = Heads(lambda: None)
    first, unfound = learned(b"a"), learned(b"a")
    assert heads.same(first) is first
    assert heads.same(unfound) is unfound  # nothing is known to follow from the first yet
    unfound.remember(object())
    assert heads.same(learned(b"a")) is unfound
    other = learned(b"b")
    assert heads.same(other) is other
    del unfound, other
    again = learned(b"a")
    assert heads.same(again) is again


def test_the_next_connection_is_thought_to_begin_as_the_last_one_did() -> None:
    heads = Heads(lambda: None)
    assert heads.guess() is None
    head = heads.same(learned(b"a"))
    assert heads.guess() is None  # nothing follows from it, so that it is to be read
    head.remember(object())
    assert heads.guess() is head
    other = heads.same(learned(b"b"))
    other.remember(object())
    assert heads.guess() is other
    assert heads.same(learned(b"a")) is head is heads.guess()
    del head, other
    assert heads.guess() is None


def test_a_head_that_cannot_be_known_again_is_its_own() -> None:
    heads, head = Heads(lambda: None), RequestHead("POST", "/x", (1, 1), ())
    head.remember(object())
    assert heads.same(RequestHead("POST", "/x", (1, 1), ())) is not head
    assert heads.same(head) is head and heads.same(head) is head
