"""Texts of many kinds, made here and the same in every run, and a tokenizer to count them with."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import tiktoken

from proxy.dataplane.counting.vocabulary import CL100K, O200K, load_encoding, shipped

ENCODINGS = (O200K.name, CL100K.name)

_ENGLISH = (
    "The quick brown fox doesn't jump over the lazy dog; it's asleep. \"Really?\" she asked - and they'd all laughed, hadn't they? "
    "In 2024, about 3.5 million people (roughly 12%) moved to cities: Springfield, Shelbyville & others. See https://example.com/a/b?c=d_e#f for details!\n"
)
_CHINESE = "今天的天气很好，我们去公园散步吧。人工智能正在改变世界：从医疗、教育到交通！你觉得呢？（我认为“是的”）；价格是３５元，共１２３４５件……\n"
_CODE = (
    'def total(self, items: list[int], *, rate=0.25) -> float:\n    """Sum."""\n\tfor i, x in enumerate(items):\n        if x != 0 and not_done[i]:'
    "  # why\n            self.sum += x*rate/100\n    return {'a': 1, \"b\": [2, 3]}\n\n\n"
)
_HINDI_KOREAN = "नमस्ते दुनिया, आप कैसे हैं? 안녕하세요, 세계! 오늘은 2025년입니다. Ça va bien? Größe, naïve e\u0301te\u0301. ไทยแลนด์ ประเทศ\r\n"
_MARKUP = '<p class="x">a<br/>b</p>\n|a|b|\n|---|---|\n* **bold** _it_ `code`\n//-- ### ~~x~~ $E=mc^2$ \\alpha_1\n'
_EMOJI = "Great 👍🏽! 👩‍👩‍👧‍👦 family 😀😀😀 ok✨. 🇩🇪🇫🇷 flags\n"
SENTENCES = (_ENGLISH, _CHINESE, _CODE, _HINDI_KOREAN, _MARKUP, _EMOJI)


@cache
def encoding(name: str) -> tiktoken.Encoding:
    """One of the shipped tokenizers, loaded once in a process."""
    return load_encoding(shipped(), O200K if name == O200K.name else CL100K)


def count(name: str, text: str) -> int:
    """In one call, whatever its length."""
    return len(encoding(name).encode_ordinary(text))


def corpora(chars: int) -> dict[str, str]:
    """Texts of at least this many characters, by what they are."""
    rng = random.Random(7)

    def shuffled(text: str) -> str:
        words = text.split(" ")
        out: list[str] = []
        while sum(map(len, out)) + len(out) < chars:
            out += rng.sample(words, len(words))
        return " ".join(out)

    def repeated(text: str) -> str:
        return text * (chars // len(text) + 1)

    def drawn(alphabet: str, count: int = chars) -> str:
        return "".join(rng.choices(alphabet, k=count))

    texts = {
        "english": shuffled(_ENGLISH),
        "chinese": "".join(
            drawn(_CHINESE.strip(), 40)
            + "，"
            + drawn("的一是不了人我在有他这中大来上国", 30)
            + "我。你"
            for _ in range(chars // 70)
        ),
        "code": repeated(_CODE),
        "scripts": shuffled(_HINDI_KOREAN),
        "markup": repeated(_MARKUP),
        "emoji": repeated(_EMOJI),
        "mixed": "".join(rng.choice(SENTENCES) for _ in range(chars // 60)),
        "digits": drawn("0123456789"),
        "hex": drawn("0123456789abcdef"),
        "numbers": ", ".join(str(rng.randrange(10**9)) for _ in range(chars // 10)),
        "base64": drawn("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
        "json": ",\n".join(
            f'{{"id": {rng.randrange(10**6)}, "name": "n{i}", "tags": ["a b", "c\'s"], "ok": true}}'
            for i in range(chars // 60)
        ),
        "indented": "".join(
            " " * rng.randrange(40)
            + rng.choice(("x = 1", "return", "# say", ""))
            + "\n" * rng.randrange(1, 4)
            for _ in range(chars // 20)
        ),
        "lines": "".join(
            rng.choice(("a", "one", "É", "!", "…", "7"))
            + rng.choice(("\n", "\r\n", "\n\n", " \n", "\n "))
            for _ in range(chars // 2)
        ),
        "source": repeated(Path(__file__).read_text()),
    }
    return {name: text[:chars] for name, text in texts.items()}
