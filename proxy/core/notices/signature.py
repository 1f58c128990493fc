"""The signature of Standard Webhooks (standardwebhooks.com), by HMAC-SHA256.

A receiver verifies `webhook-signature` over id, time and body, refuses old times, and takes an id
that it has seen before as the same message sent again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
KEY_BYTES = (24, 64)  # of a key, as the standard bounds it


def signing_key(secret: str) -> bytes:
    """The key that a secret such as `whsec_…` spells. Raises ValueError with what is expected."""
    expected = (
        f"expected {PREFIX} and the Base64 of {KEY_BYTES[0]} to {KEY_BYTES[1]} random bytes; make"
        f" one with: echo {PREFIX}$(openssl rand -base64 32)"
    )
    if not secret.startswith(PREFIX):
        raise ValueError(expected)
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(expected) from error
    if not KEY_BYTES[0] <= len(key) <= KEY_BYTES[1]:
        raise ValueError(expected)
    return key


def signed(secret: str, message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three fields of a message sent at that Unix time; without a secret the first two."""
    assert "." not in message_id, "the dot separates what is signed"
    fields = {"webhook-id": message_id, "webhook-timestamp": str(at_s)}
    if secret:
        content = f"{message_id}.{at_s}.".encode() + body
        digest = hmac.digest(signing_key(secret), content, hashlib.sha256)
        fields["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return fields
