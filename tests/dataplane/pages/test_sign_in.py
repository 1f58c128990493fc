"""A cookie stands for a secret as long as that is good; wrong keys are bounded."""

from __future__ import annotations

import hashlib

import pytest

from proxy.config.settings import KeySettings, Settings
from proxy.core.errors import ProxyError
from proxy.dataplane.pages import sign_in
from proxy.dataplane.pages.sign_in import SignIn, WrongKeys
from proxy.tenants.directory import Directory
from proxy.tenants.ring import KeyRefused, KeyRing

NOW_MS = 1_793_500_000_000
SECRET = b"vk-al-3Qm9ZtW8rLx2PbNc7HsD"
BOB = b"vk-bo-7Yk2RnV5qJd8XfGb4TwM"


def ring(**keys: object) -> KeyRing:
    return KeyRing(Directory(Settings(keys=keys)))  # type: ignore[arg-type]


def key(secret: bytes, **more: object) -> KeySettings:
    return KeySettings(secret_sha256=hashlib.sha256(secret).hexdigest(), **more)  # type: ignore[arg-type]


MADE = SignIn(b"k" * 32)
COOKIE = MADE.cookie("alice", SECRET, NOW_MS)


def test_it_stands_for_its_key_for_an_hour() -> None:
    keys = ring(alice=key(SECRET), bob=key(BOB))
    last = NOW_MS + sign_in.LASTS_S * 1000
    for at_ms in (NOW_MS, last - 1000):
        found = MADE.tenant(COOKIE, keys, at_ms)
        assert found is not None and found.key_id == "alice"
    assert MADE.tenant(COOKIE, keys, last) is None
    assert MADE.tenant(COOKIE, keys, NOW_MS - 3_600_000) is None, "a clock that was far ahead"


@pytest.mark.parametrize("place", range(len(COOKIE)))
def test_no_character_of_it_can_be_changed(place: int) -> None:
    keys = ring(alice=key(SECRET), bob=key(BOB))
    other = COOKIE[:place] + ("A" if COOKIE[place] != "A" else "B") + COOKIE[place + 1 :]
    found = MADE.tenant(other, keys, NOW_MS)
    # The last character of base64 has bits that stand for nothing.
    assert found is None or place == len(COOKIE) - 1


@pytest.mark.parametrize("text", ["", "..", "1.2", "9" * 40 + ".YQ.YQ", "é.YQ.YQ", "1.YQ.YQ.YQ"])
def test_what_is_no_cookie_of_ours_stands_for_nobody(text: str) -> None:
    assert MADE.tenant(text, ring(alice=key(SECRET)), NOW_MS) is None


def test_it_ends_with_its_secret() -> None:
    assert MADE.tenant(COOKIE, ring(alice=key(BOB)), NOW_MS) is None, "it has another secret"
    assert MADE.tenant(COOKIE, ring(bob=key(SECRET)), NOW_MS) is None, "the name has moved"
    assert MADE.tenant(COOKIE, ring(), NOW_MS) is None
    assert SignIn(b"x" * 32).tenant(COOKIE, ring(alice=key(SECRET)), NOW_MS) is None
    with pytest.raises(KeyRefused, match="expired"):
        MADE.tenant(COOKIE, ring(alice=key(SECRET, expires="2026-01-01")), NOW_MS)


def test_a_cookie_that_was_signed_out_is_good_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made, keys = SignIn(b"k" * 32), ring(alice=key(SECRET), bob=key(BOB))
    bobs = made.cookie("bob", BOB, NOW_MS)
    made.end(COOKIE, NOW_MS)
    # The last character of base64 has bits that stand for nothing.
    alike = [COOKIE[:-1] + last for last in "AEIMQUYcgkosw048BFJNRVZdhlptx159"]
    assert [made.tenant(one, keys, NOW_MS) for one in (COOKIE, *alike)] == [None] * 33
    assert made.tenant(bobs, keys, NOW_MS) is not None
    assert made.tenant(made.cookie("alice", SECRET, NOW_MS), keys, NOW_MS) is not None
    for text in ("", "..", "1.2", "x" * 22, "1.YQ.é"):
        made.end(text, NOW_MS)
    monkeypatch.setattr(sign_in, "ENDED_MAX", 3)
    for n in range(9):
        made.end(made.cookie(f"k{n}", SECRET, NOW_MS), NOW_MS)
    assert len(made._ended) == 3
    made.end(bobs, NOW_MS + 2 * 3_600_000)
    assert len(made._ended) == 1, "those whose hour is over are forgotten"


def test_a_form_is_good_for_its_browser_alone() -> None:
    nonce = MADE.nonce()
    MADE.check_token(nonce, MADE.token(nonce))
    for cookie, token in ((None, MADE.token(nonce)), (nonce, None), ("", ""), (nonce, "é")):
        with pytest.raises(ProxyError, match="403"):
            MADE.check_token(cookie, token)
    with pytest.raises(ProxyError, match="403"):
        MADE.check_token(MADE.nonce(), MADE.token(nonce))
    assert MADE.nonce(nonce) == nonce, "a second tab"
    for made_up in ("", "x", f"{nonce}x", f"{nonce[:-1]};", "é" * 22):
        assert MADE.nonce(made_up) != made_up


def test_an_address_has_ten_wrong_keys_a_minute() -> None:
    wrong = WrongKeys()
    for n in range(sign_in.FAILURES_MAX):
        wrong.check("2001:db8::1", NOW_MS)
        wrong.count(f"2001:db8::{n:x}", NOW_MS)
    with pytest.raises(ProxyError, match="429"):
        wrong.check("2001:db8::ffff", NOW_MS)
    wrong.check("2001:db8:0:1::1", NOW_MS)
    wrong.check("192.0.2.1", NOW_MS)
    wrong.check("2001:db8::1", NOW_MS + 60_000)
    wrong.take_back("2001:db8::1", NOW_MS + 60_000)
    for _ in range(sign_in.FAILURES_MAX):
        wrong.count("2001:db8::1", NOW_MS + 60_000)
    with pytest.raises(ProxyError, match="429"):
        wrong.check("2001:db8::1", NOW_MS + 60_000)
    wrong.take_back("2001:db8::1", NOW_MS + 60_000)
    wrong.check("2001:db8::1", NOW_MS + 60_000)


def test_ever_new_addresses_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "ADDRESSES_MAX", 3)
    wrong = WrongKeys()
    for n in range(20):
        wrong.count(f"192.0.2.{n}", NOW_MS)
    assert len(wrong._counts) <= 4
    with pytest.raises(ProxyError, match="429"):
        wrong.check("192.0.2.200", NOW_MS)
    wrong.check("::ffff:192.0.2.1", NOW_MS)
