"""Padding a prompt out of exact counting lowers nothing: what is dense stays dense, however much
stands beside it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from random import Random

import pytest

from proxy.core.dialects.openai_chat.call import read_call
from proxy.core.dialects.openai_chat.prompt import count_prompt_of
from proxy.core.tokens.images import IMAGE_RULES, image_rule, picture_tokens
from proxy.dataplane.counting.calibration import Calibration
from proxy.dataplane.counting.counter import TokenCounter
from proxy.dataplane.counting.exchange_count import ExchangeCount
from tests.dataplane.counting.test_counter import answered
from tests.support.corpora import count
from tests.support.running import vocabularies

DICE = Random(7)
CHINESE = "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得经"


def chosen(signs: str, size: int, between: str = "") -> str:
    return between.join(DICE.choices(signs, k=size))


DENSE = {
    "chinese": chosen(CHINESE, 100_000),
    "digits": chosen("0123456789", 250_000),
    "digits apart": chosen("0123456789", 100_000, " "),
    "letters apart": chosen("abcdefghijklmnop", 100_000, " "),
    "signs": chosen("!@#$%^&*()_+-=[]|;:,.<>?/~`", 200_000),
    "emoji": chosen("😀🎉💯🔥🚀🧪", 60_000),
    "rare signs": "".join(chr(DICE.randrange(0x20000, 0x2A000)) for _ in range(60_000)),
}
Fields = dict[str, object]
Pad = Callable[[str], tuple[object, Fields]]
SPACES, PROSE, BRACKETS = " " * 900_000, "This is a word or two. " * 40_000, "[" * 50_001
PNG = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAgAAAAIA" * 30_000


def interleaved(text: str, pad: str, step: int) -> str:
    pads = len(text) // step or 1
    width = len(pad) // pads
    return "".join(
        text[n * step : (n + 1) * step] + pad[n * width : (n + 1) * width] for n in range(pads + 1)
    )


PADS: dict[str, Pad] = {
    "blanks behind": lambda text: (text + SPACES, {}),
    "blanks in front": lambda text: (SPACES + text, {}),
    "blanks between": lambda text: (interleaved(text, SPACES, 700), {}),
    "prose between": lambda text: (interleaved(text, PROSE, 5_000), {}),
    "brackets": lambda text: (text + BRACKETS, {}),
    "brackets elsewhere": lambda text: (text, {"x": [[]] * 30_000}),
    "a number that nobody reads": lambda text: (text, {"logit_bias": dict.fromkeys(map(str, range(10_000)), 10**70)}),
    "a picture": lambda text: ([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": PNG}}], {}),
    "a deep member": lambda text: (text, {"x": json.loads("[" * 400 + "]" * 400), "y": SPACES}),
}  # fmt: skip


async def estimated(content: object, fields: Fields, *, escaped: bool) -> int:
    """What the prompt of a stream that states nothing is charged as."""
    body = json.dumps(
        {
            "model": "gpt-4o",
            "stream": True,
            "messages": [{"role": "user", "content": content}],
            **fields,
        },
        ensure_ascii=escaped,
    ).encode()
    counter = TokenCounter(vocabularies(), Calibration(), Random(3))
    counter.calibration.stated("mock", "gpt-4o", False, False)
    call = read_call("/v1/chat/completions", body)
    counting = ExchangeCount(
        counter, "mock", count_prompt_of, call, IMAGE_RULES, hidden=False, asked=False, counted=True
    )
    counting.prompt(body)
    found = await counting.over(answered("ok"))
    assert found is not None
    await counter.aclose()
    return found.input_tokens


async def lowers_nothing(dense: str, padded: str, escaped: bool) -> None:
    content, fields = PADS[padded](DENSE[dense])
    plain = await estimated(DENSE[dense], {}, escaped=escaped)
    assert await estimated(content, fields, escaped=escaped) >= plain


@pytest.mark.parametrize(("padded", "dense"), list(zip(PADS, itertools.cycle(DENSE), strict=False)))
async def test_no_padding_lowers_the_estimate_of_dense_text(dense: str, padded: str) -> None:
    """Each way once."""
    await lowers_nothing(dense, padded, escaped=padded == "blanks behind")


@pytest.mark.campaign
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("padded", PADS)
@pytest.mark.parametrize("dense", DENSE)
async def test_each_padding_lowers_the_estimate_of_no_dense_text(
    dense: str, padded: str, escaped: bool
) -> None:
    await lowers_nothing(dense, padded, escaped)


async def test_large_prose_is_estimated_at_what_it_counts() -> None:
    """Windows add a token or so at each end."""
    wanted = 40 * count("o200k_base", PROSE[: len(PROSE) // 40])
    assert await estimated(PROSE, {}, escaped=False) == pytest.approx(wanted, rel=0.02)


async def test_beside_a_large_text_a_picture_counts_by_its_size() -> None:
    """Neither by its base64 nor not at all."""
    text = DENSE["digits"] * 2
    url = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAABAAAAAQA" + "AAAA" * 200_000
    parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    alone = await estimated(text, {}, escaped=False)
    rule = image_rule("gpt-4o", IMAGE_RULES)
    picture = picture_tokens(rule, (1024, 1024), low=False)
    assert picture > 500
    added = await estimated(parts, {}, escaped=False) - alone
    assert picture <= added < 1.2 * picture + 0.01 * alone
