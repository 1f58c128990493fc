"""Slots: as many at once as the limit says, and a stream's growth takes no second one."""

from __future__ import annotations

from tests.quota.worlds import limit, world


async def test_as_many_as_there_are() -> None:
    here, slots = await world(), limit("2 concurrent")
    one, two = await here.admitted([slots]), await here.admitted([slots])
    refused = await here.refused([slots])
    assert (refused.retry_after_ms, refused.never, refused.state.used) == (1000, False, 2)
    here.void(one)
    three = await here.admitted([slots])
    for reservation in (two, three):
        here.end(reservation)
    assert await here.figures(slots) == (0, 0, 2)


async def test_a_drained_answer_grows_on_without_a_slot() -> None:
    """Its client has left and its slot is another's; what is still read must not be ended for want
    of one."""
    here, slots, day = await world(), limit("1 concurrent", "cut"), limit("9_000 tokens/day")
    drained = await here.admitted([slots, day], 10)
    here.quota.release_slots(drained)
    await here.admitted([slots, day], 10)
    assert await here.quota.extend(drained, 4000, None, here.clock.now_ms) is None
    assert (await here.state(slots)).used == 1


async def test_no_slots_are_none() -> None:
    here, slots = await world(), limit("0 concurrent")
    assert (await here.refused([slots])).never
