"""Authentication as a client sees it: who is let in, with which refusal, and that no refusal
repeats a credential."""

from __future__ import annotations

import hashlib

import pytest

from proxy.config.settings import KeySettings, Settings, TeamSettings
from proxy.core.dialects.openai_chat.refusals import error_body
from proxy.core.errors import ProxyError
from proxy.tenants.directory import Directory
from proxy.tenants.key import make_key
from proxy.tenants.ring import KeyRing, Tenant

OURS = make_key(bytes(range(32)))
NEW_YEAR_MS = 1_798_761_600_000  # 2027-01-01T00:00Z
SETTINGS = Settings(
    timezone="Asia/Shanghai",
    support="gateway@example.com",
    teams={"research": TeamSettings(labels={"cost_center": "4711", "site": "hq"})},
    keys={
        "alice": KeySettings(
            team="research",
            secret="sk-alice",
            models=("deepseek-*", "gpt-4o"),
            labels={"site": "lab"},
        ),
        "bob": KeySettings(secret_sha256=hashlib.sha256(b"sk-bob").hexdigest()),
        "carol": KeySettings(secret=OURS, expires="2027-01-01"),
        "disabled": KeySettings(expires="2027-01-01"),
        "unicode": KeySettings(secret="sk-ключ"),
    },
)
RING = KeyRing(Directory(SETTINGS))


def bearer(secret: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"Host", b"h"), (b"Authorization", b"Bearer " + secret)]


LET_IN: list[tuple[list[tuple[bytes, bytes]], str]] = [
    (bearer(b"sk-alice"), "alice"),
    (bearer(b"sk-bob"), "bob"),
    (bearer(OURS.encode()), "carol"),
    (bearer("sk-ключ".encode()), "unicode"),
    ([(b"authorization", b"bearer  sk-alice ")], "alice"),
    ([(b"X-API-Key", b"sk-alice")], "alice"),
    ([(b"api-key", b"sk-bob")], "bob"),
    (
        [
            (b"Authorization", b"Bearer sk-alice"),
            (b"x-api-key", b"sk-alice"),
            (b"api-key", b"sk-alice"),
        ],
        "alice",
    ),
    ([(b"Authorization", b"Bearer "), (b"x-api-key", b"sk-alice")], "alice"),
    ([(b"x-api-key", b""), (b"api-key", b"sk-bob")], "bob"),
]


@pytest.mark.parametrize(
    ("headers", "key_id"), LET_IN, ids=[str(index) for index in range(len(LET_IN))]
)
@pytest.mark.parametrize("forward", [False, True])
def test_who_is_let_in(headers: list[tuple[bytes, bytes]], key_id: str, forward: bool) -> None:
    assert RING.authenticate(headers, 0, forward).key_id == key_id


TYPO = OURS[:10] + ("x" if OURS[10] != "x" else "y") + OURS[11:]
UNKNOWN_OURS = make_key(b"\xff" * 32)
REFUSED: list[tuple[list[tuple[bytes, bytes]], int, str, str]] = [
    ([], 401, "invalid_api_key", "No API key was sent"),
    ([(b"Authorization", b"Bearer ")], 401, "invalid_api_key", "No API key was sent"),
    ([(b"Authorization", b"")], 401, "invalid_api_key", "No API key was sent"),
    ([(b"Cookie", b"session=sk-alice")], 401, "invalid_api_key", "No API key was sent"),
    (bearer(b"sk-nobody"), 401, "invalid_api_key", "not known here"),
    (bearer(b"sk-alic"), 401, "invalid_api_key", "not known here"),
    (bearer(b"SK-ALICE"), 401, "invalid_api_key", "not known here"),
    (bearer(b"sk-bob\xff"), 401, "invalid_api_key", "not known here"),
    (
        bearer(hashlib.sha256(b"sk-bob").hexdigest().encode()),
        401,
        "invalid_api_key",
        "not known here",
    ),
    ([(b"Authorization", b"Basic sk-alice")], 401, "invalid_api_key", "not known here"),
    (bearer(TYPO.encode()), 401, "invalid_api_key", "typo"),
    (bearer(UNKNOWN_OURS.encode()), 401, "invalid_api_key", "not known here"),
    (bearer(b"sk-tk-\xff"), 401, "invalid_api_key", "typo"),
    (
        [*bearer(b"sk-alice"), (b"authorization", b"Bearer sk-alice")],
        400,
        "invalid_request",
        "authorization was sent twice",
    ),
    (
        [(b"x-api-key", b"sk-alice"), (b"X-Api-Key", b"sk-alice")],
        400,
        "invalid_request",
        "x-api-key was sent twice",
    ),
    (
        [*bearer(b"sk-alice"), (b"x-api-key", b"sk-bob")],
        400,
        "invalid_request",
        "different credentials",
    ),
    (
        [(b"Authorization", b"Basic abc"), (b"x-api-key", b"sk-alice")],
        400,
        "invalid_request",
        "different credentials",
    ),
]


@pytest.mark.parametrize(
    ("headers", "status", "code", "fragment"),
    REFUSED,
    ids=[str(index) for index in range(len(REFUSED))],
)
def test_who_is_refused(
    headers: list[tuple[bytes, bytes]], status: int, code: str, fragment: str
) -> None:
    with pytest.raises(ProxyError) as caught:
        RING.authenticate(headers, 0, forward=False)
    error = caught.value
    assert (error.status, error.type, error.code) == (status, "invalid_request_error", code)
    assert fragment in error.message
    if status == 401:
        assert error.message.endswith("Ask gateway@example.com.")
        assert error.headers == (
            ("www-authenticate", "Bearer"),
            ("x-should-retry", "false"),
        )
    said = error_body(error) + str(error).encode()
    for _, value in headers:
        assert len(value) < 4 or value.removeprefix(b"Bearer ") not in said or value == b"Bearer "


def test_a_key_expires_at_midnight_in_the_configured_zone() -> None:
    midnight_ms = NEW_YEAR_MS - 8 * 3_600_000
    assert (
        RING.authenticate(bearer(OURS.encode()), midnight_ms - 1, forward=False).key_id == "carol"
    )
    with pytest.raises(ProxyError) as caught:
        RING.authenticate(bearer(OURS.encode()), midnight_ms, forward=True)
    assert (caught.value.status, caught.value.code) == (401, "key_expired")
    assert "'carol' expired on 2026-12-31 16:00 UTC" in caught.value.message
    assert RING.expiries_ms() == {"carol": midnight_ms}


def test_an_unknown_credential_is_a_tenant_where_credentials_are_forwarded() -> None:
    tenant = RING.authenticate(bearer(b"sk-vendor"), 0, forward=True)
    assert tenant == Tenant(
        key_id="fwd-" + hashlib.sha256(b"sk-vendor").hexdigest()[:16], forwarded=True
    )
    assert not RING.authenticate(bearer(b"sk-alice"), 0, forward=True).forwarded


@pytest.mark.parametrize("secret", [TYPO, UNKNOWN_OURS])
def test_a_key_of_ours_is_never_forwarded_to_a_vendor(secret: str) -> None:
    with pytest.raises(ProxyError) as caught:
        RING.authenticate(bearer(secret.encode()), 0, forward=True)
    assert caught.value.code == "invalid_api_key"


def test_a_tenant_carries_its_team_and_labels() -> None:
    tenant = RING.authenticate(bearer(b"sk-alice"), 0, forward=False)
    assert (tenant.team, tenant.labels) == ("research", {"cost_center": "4711", "site": "lab"})


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        ((), "anything", True),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-*", "o3"), "gpt-4o", True),
        (("gpt-*",), "GPT-4o", False),
        (("*",), "", True),
    ],
)
def test_models_a_key_may_call(models: tuple[str, ...], model: str, allowed: bool) -> None:
    assert Tenant(key_id="a", models=models).allows(model) is allowed


def test_a_key_of_ours_is_known_as_such_where_credentials_are_forwarded() -> None:
    assert RING.authenticate(bearer(OURS.encode()), 0, forward=True).ours
    assert not RING.authenticate(bearer(b"sk-alice"), 0, forward=True).ours
