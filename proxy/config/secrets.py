"""Recognises credentials that protect nothing.

Short, guessable, left over from an example, or another thing than was meant.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter

SECRET_CHARS_MIN = 20
# of the characters left when words and repetitions are taken out; a random key of 20 has 80 and
# more
_BITS_MIN = 44
_WORDS = re.compile(
    r"change[-_ ]?(?:me|this|it)?|replace[-_ ]?(?:me|this)?|your|enter|insert|"
    r"password|passwd|secret|example|sample|placeholder|dummy|fake|test(?:ing)?|demo|default|"
    r"admin|root|user|guest|master|token|bearer|api|key|proj|live|prod|dev|local(?:host)?|"
    r"my|the|is|here|some|this|super|very|strong|secure|random|long|"
    r"foo|bar|baz|abc|xyz|qwerty(?:uiop)?|asdf(?:ghjkl)?|zxcv(?:bnm)?|"
    r"(?:spring|summer|autumn|winter|fall)?20[0-9][0-9]|letmein|welcome|hello|world|"
    r"company|openai|anthropic|litellm|tollkeeper|gateway|proxy|sk|pk|todo|none|null",
    re.IGNORECASE,
)
_CHARS_JUDGED = 64
_DIGEST = re.compile(r"[0-9a-f]{64}")
# What `sha256sum` says where nothing, or the end of a line alone, was piped into it.
_OF_NOTHING = frozenset(hashlib.sha256(text).hexdigest() for text in (b"", b"\n", b"\r\n"))
_RUN = re.compile(r"(.)\1{2,}")  # aaaa, xxxx, ----
_AGAIN = re.compile(r"(.{4,})(?=.*\1)", re.DOTALL)  # what comes once more behind it
_OTHER_SYNTAX = (
    (re.compile(r"os\.environ/([A-Za-z_]\w*)"), "LiteLLM's"),
    (re.compile(r"\{\{\s*(?:env\.)?([A-Za-z_]\w*)\s*\}\}"), "a template's"),
    (re.compile(r"env:(?://)?([A-Za-z_]\w*)"), "another gateway's"),
    (re.compile(r"\$\(([A-Za-z_]\w*)\)"), "Kubernetes'"),
    (re.compile(r"%([A-Za-z_]\w*)%"), "Windows'"),
    (re.compile(r"\$([A-Za-z_]\w*)"), ""),
)


def digest(text: str) -> str:
    """A `secret_sha256`; empty where there is none. Raises ValueError."""
    if text and not _DIGEST.fullmatch(text):
        raise ValueError(
            "expected 64 hexadecimal digits in lower case, as `tollkeeper key hash` prints them"
        )
    if text in _OF_NOTHING:
        raise ValueError(
            "expected the SHA-256 of a key, and this is that of an empty text, as of a variable"
            " that is not set; hash the key with `tollkeeper key hash`"
        )
    return text


def guessable(secret: str) -> str | None:
    """Why this secret can be guessed, or None. It is never quoted."""
    if len(secret) < SECRET_CHARS_MIN:
        return f"is shorter than {SECRET_CHARS_MIN} characters"
    if secret in (secret + secret)[1:-1]:
        return "repeats itself"
    rest = _RUN.sub(r"\1", _WORDS.sub("", secret))
    rest = _AGAIN.sub("", re.sub(r"[^A-Za-z0-9]+", "", rest)[:_CHARS_JUDGED])
    if _bits(rest) < _BITS_MIN:
        return "is made of words, repetitions or sequences"
    return None


def other_syntax(text: str) -> str | None:
    """What to write where a value is another program's syntax for an environment variable."""
    for pattern, whose in _OTHER_SYNTAX:
        match = pattern.fullmatch(text)
        if match is not None:
            syntax = f" ({whose} syntax)" if whose else ""
            return (
                f"is the text {text} itself{syntax}: to take it from the environment write"
                f' "${{{match[1]}}}"'
            )
    return None


def no_key(text: str) -> str | None:
    """Why this cannot be a vendor's key, or None."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        return "holds the quotation marks around it; take them out of the variable or the file"
    if text.lower().startswith(("http://", "https://")):
        return "is a URL; the key belongs here, and the URL into base_url"
    if (
        text.startswith("<")
        or text.endswith(("...", "…"))
        or re.search(r"your[-_]?(?:api[-_]?)?key|change[-_]?me|x{6,}", text, re.IGNORECASE)
    ):
        return "is a placeholder; put the vendor's key there"
    return None


def _bits(text: str) -> float:
    """Shannon's estimate, without what goes up or down by one (1234, abcd)."""
    codes = list(map(ord, text))
    steps = [later - earlier for earlier, later in itertools.pairwise(codes)]
    kept = text[:1] + "".join(
        text[at + 1]
        for at, step in enumerate(steps)
        if not (abs(step) <= 1 and at and steps[at - 1] == step)
    )
    counts = Counter(kept)
    return -sum(count * math.log2(count / len(kept)) for count in counts.values()) if kept else 0.0
