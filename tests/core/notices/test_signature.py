"""The signature, read by the standard's own library."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from proxy.core.notices.signature import signed, signing_key
from tests.support.effort import examples

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_standard() -> None:
    fields = signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert fields == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@settings(max_examples=examples(200), deadline=None)
@given(key=st.binary(min_size=24, max_size=64), body=st.text(max_size=200))
def test_the_standards_own_library_takes_it_and_no_other_body(key: bytes, body: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    text = f'"{body.encode("unicode_escape").decode("ascii").replace(chr(92), "").replace(chr(34), "")}"'
    fields = signed(secret, "msg_1", int(time.time()), text.encode())
    Webhook(secret).verify(text, fields)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(text + " ", fields)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(text, fields | {"webhook-id": "msg_2"})


def test_without_a_secret_there_is_no_signature() -> None:
    assert signed("", "m", 7, b"x") == {"webhook-id": "m", "webhook-timestamp": "7"}


@pytest.mark.parametrize(
    "secret",
    ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_QUJD", "whsec_" + "A" * 100, "whsec_????", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"],
)  # fmt: skip
def test_what_is_no_key_says_how_to_make_one(secret: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32"):
        signing_key(secret)
