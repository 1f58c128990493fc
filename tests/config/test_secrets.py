"""Which secrets can be guessed; random ones cannot, whoever made them."""

from __future__ import annotations

import random
import uuid

import pytest

from proxy.config.secrets import guessable, no_key, other_syntax
from proxy.tenants.key import KEY_BYTES_MIN, make_key


@pytest.mark.parametrize("secret", """
    sk-1234 changeme changeme-changeme-changeme changeme12345678901234567890 sk-aaaaaaaaaaaaaaaaaaaaaaaaaa password-password-1234 abcdefghijklmnopqrstuvwxyz
    12345678901234567890123 sk-test-key-for-my-company-demo sk-xxxxxxxxxxxxxxxxxxxxxxxx supersecretpassword123456 qwertyuiopasdfghjklzxcvbnm
    this-is-my-super-secret-key alice-alice-alice-alice-al MySuperSecretToken2024!! Summer2024Summer2024! sk-1234567890abcdef1234567890abcdef
    replace-me-with-a-real-key 00000000000000000000000000
""".split())  # fmt: skip
def test_words_and_repetitions_can_be_guessed(secret: str) -> None:
    assert guessable(secret) is not None


def test_random_ones_cannot() -> None:
    rng = random.Random(1)
    for _ in range(300):
        data = rng.randbytes(KEY_BYTES_MIN)
        for secret in (
            make_key(data),
            data.hex(),
            data[:16].hex(),
            str(uuid.UUID(bytes=data[:16])),
        ):
            assert guessable(secret) is None, secret
    assert guessable("correct-horse-battery-staple") is None


@pytest.mark.parametrize(("text", "name"), [
    ("$KEY", "KEY"), ("os.environ/KEY", "KEY"), ("{{KEY}}", "KEY"), ("env:KEY", "KEY"), ("env://KEY", "KEY"), ("$(KEY)", "KEY"), ("%KEY%", "KEY"), ("sk-KEY", None), ("", None),
])  # fmt: skip
def test_the_syntax_of_other_programs_is_known(text: str, name: str | None) -> None:
    told = other_syntax(text)
    assert told is None if name is None else told is not None and f'"${{{name}}}"' in told


@pytest.mark.parametrize(
    ("text", "is_key"),
    [
        ("sk-abc", True),
        ("'sk-abc'", False),
        ("http://x", False),
        ("<key>", False),
        ("sk-...", False),
        ("YOUR_API_KEY", False),
        ("EMPTY", True),
    ],
)
def test_what_is_no_vendors_key_is_told(text: str, is_key: bool) -> None:
    assert (no_key(text) is None) is is_key
