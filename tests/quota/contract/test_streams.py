"""A stream that outgrows what it took, at every quota store."""

from __future__ import annotations

from proxy.core.limits.credit import Credit
from tests.quota.stores import Store
from tests.quota.worlds import limit, world


async def test_extension_by_mode(store: Store) -> None:
    # enforce, of 1000 already used, the stream took, wants in all -> held then, or the end
    for enforce, used, took, wants, held in [
        ("finish", 0, 100, 612, 612),
        ("finish", 900, 50, 5000, 5000),
        ("warn", 2000, 50, 5000, 5000),
        ("cut", 0, 100, 1000, 1000),
        ("cut", 0, 100, 1001, None),
        ("cut", 900, 50, 100, 100),
        ("cut", 900, 50, 101, None),
        ("cut", 0, 100, 50, 100),
        ("strict", 0, 100, 100, 100),
        ("strict", 0, 100, 1000, 1000),
        ("strict", 0, 100, 1001, None),
    ]:
        here, day, roomy = (
            await world(store),
            limit("1_000 tokens/day", enforce),
            limit("9_000 output_tokens/day", "cut"),
        )
        if used:
            here.end(await here.admitted([day], 0, most=0), used)
        stream = await here.admitted([roomy, day], took, most=took)
        answer = await here.quota.extend(stream, wants, None, here.clock.now_ms)
        if held is None:
            assert answer is not None
            assert (answer.limit, answer.remaining) == (day, 1000 - used - took)
            assert (await here.figures(day))[1] == took, "nothing was taken of any"
            assert (await here.figures(roomy))[1] == took
            assert (
                await here.quota.extend(stream, took + answer.remaining, None, here.clock.now_ms)
                is None
            ), "what remains can be had"
        else:
            assert answer is None
            assert (await here.figures(day))[1] == held
        here.end(stream, 10)
        assert (await here.figures(day))[:2] == (used + 10, 0)


async def test_a_stream_grows_in_tokens_and_in_money(store: Store) -> None:
    here, tokens, money, inputs = (
        await world(store),
        limit("9_000 tokens/day"),
        limit("0.000001 USD/day", "cut"),
        limit("500 input_tokens/day", "cut"),
    )
    stream = await here.admitted([tokens, money, inputs], 100, input=400, charge=300)
    assert await here.quota.extend(stream, 612, 900, here.clock.now_ms) is None
    assert [(await here.figures(one))[1] for one in (tokens, money, inputs)] == [1012, 900, 400]
    answer = await here.quota.extend(stream, 700, 1001, here.clock.now_ms)
    assert answer is not None
    assert answer.limit == money
    assert [(await here.figures(one))[1] for one in (tokens, money, inputs)] == [1012, 900, 400]


async def test_a_stream_grows_by_what_credit_adds_and_no_more(store: Store) -> None:
    here, day = await world(store), limit("100 tokens/day", "cut")
    stream, now_ms = await here.admitted([day], 100), here.clock.now_ms
    assert await here.quota.extend(stream, 150, None, now_ms) is not None
    here.quota.grant(Credit("a", day.id, 100, now_ms, now_ms + 1000), now_ms)
    assert await here.quota.extend(stream, 150, None, now_ms) is None
    here.clock.pass_ms(1000)
    assert await here.quota.extend(stream, 200, None, here.clock.now_ms) is not None, (
        "the credit has run out"
    )
