"""The common bound on request bodies in memory."""

from __future__ import annotations

import pytest

from proxy.core.errors import ProxyError
from proxy.dataplane.request_body import BodyMemory
from proxy.dataplane.services import PLACES_SHARE, HeldBodies, KeyPlaces, Present


def test_bodies_share_one_bound_and_give_back_exactly_what_they_took() -> None:
    held = HeldBodies()
    one, two = (BodyMemory(held, key, total_max_bytes=100, body_max_bytes=40) for key in ("a", "b"))
    one.take(60)
    two.take(40)
    with pytest.raises(ProxyError) as refused:
        two.take(1)
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    two.release()
    two.release()
    assert held.total_bytes == 60
    one.take(40)
    one.release()
    assert (held.total_bytes, held.by_key) == (0, {})


@pytest.mark.parametrize(("body_max_bytes", "share"), [(10, 100), (33, 100), (50, 150)])
def test_one_key_gets_a_quarter_of_it_and_room_for_one_body_with_its_copies(
    body_max_bytes: int, share: int
) -> None:
    held = HeldBodies()
    one, two, other = (
        BodyMemory(held, key, total_max_bytes=400, body_max_bytes=body_max_bytes) for key in "aab"
    )
    one.take(share - 10)
    two.take(10)
    with pytest.raises(ProxyError) as refused:
        two.take(1)
    assert (refused.value.status, "of this key" in refused.value.message) == (503, True)
    other.take(share)
    one.release()
    two.take(share - 10)


def test_one_key_takes_a_quarter_of_the_places_to_read_on() -> None:
    drains = KeyPlaces()
    assert [drains.take("a", 8) for _ in range(3)] == [True, True, False]
    assert [drains.take(key, 8) for key in "bbccddee"] == [True] * 6 + [False] * 2
    assert drains.count == 8 == 2 * PLACES_SHARE
    drains.give_back("a")
    assert (drains.take("e", 8), drains.count) == (True, 8)
    assert [KeyPlaces().take("a", most) for most in (0, 1)] == [False, True]


def test_a_request_is_counted_for_as_long_as_it_is_there_however_it_ends() -> None:
    present = Present()
    with present:
        with pytest.raises(ValueError, match="fails"), present:
            assert present.count == 2
            raise ValueError("fails")
        assert present.count == 1
    assert present.count == 0
