"""A header that says who somebody is counts from the named addresses alone, in one spelling, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.admin.auth import Asker
from proxy.admin.pages.visitors import COOKIE, FORM_COOKIE, PageVisitor, Visitors
from proxy.config.settings import AdminSettings, AdminToken
from proxy.core.errors import ProxyError
from proxy.dataplane.pages.sign_in import SignIn
from tests.admin.pages.office import admin_browser, office
from tests.dataplane.endpoints.test_team_usage import ADMIN

NOW_MS = 1_793_500_000_000
SIGN_IN = SignIn(b"k" * 32)
TRUSTING = AdminSettings(
    trusted_header="X-Auth-User",
    trusted_from=("10.0.0.5", "fd00::/8"),
    trusted_admins=("ann", "zoë"),
    tokens={"ops": AdminToken(token=ADMIN, role="admin"), "ann": AdminToken(token="t" * 32)},
)
PLAIN = AdminSettings(tokens=TRUSTING.tokens)


def known(settings: AdminSettings, address: str | None, *headers: tuple[bytes, bytes]) -> object:
    """Who it is taken for, or the code of the refusal."""
    try:
        found = Visitors(SIGN_IN, lambda: settings).of(headers, address, NOW_MS)
    except ProxyError as error:
        assert error.status == 403 and error.message.endswith(".")
        return error.code
    return None if found is None else found.asker


ANN = (b"x-auth-user", b"ann")
NO = "trusted_header_refused"


@pytest.mark.parametrize(
    ("address", "headers", "outcome"),
    [
        ("10.0.0.5", (ANN,), Asker("ann", "admin")),
        ("::ffff:10.0.0.5", (ANN,), Asker("ann", "admin")),
        ("fd00::1", ((b"X-AUTH-USER", b" bob "),), Asker("bob", "viewer")),
        ("10.0.0.5", ((b"x-auth-user", "zoë".encode()),), Asker("zoë", "admin")),
        ("10.0.0.5", ((b"x-auth-user", b"Ann"),), Asker("Ann", "viewer")),
        ("10.0.0.5", (), None),
        ("127.0.0.1", (), None),
        # From elsewhere it is refused, whatever else the request says.
        ("10.0.0.6", (ANN,), NO),
        ("127.0.0.1", (ANN,), NO),
        (None, (ANN,), NO),
        ("", (ANN,), NO),
        ("10.0.0.6", (ANN, (b"x-forwarded-for", b"10.0.0.5")), NO),
        ("10.0.0.6", (ANN, (b"x-real-ip", b"10.0.0.5"), (b"forwarded", b"for=10.0.0.5")), NO),
        # What a browser may have added, and the server in front did not take away.
        ("10.0.0.5", (ANN, (b"x-auth-user", b"bob")), NO),
        ("10.0.0.5", (ANN, ANN), NO),
        ("10.0.0.5", (ANN, (b"X_Auth_User", b"bob")), NO),
        ("10.0.0.5", (ANN, (b"x.auth.user", b"bob")), NO),
        ("10.0.0.5", ((b"x_auth-user", b"bob"),), NO),
        ("10.0.0.6", ((b"X_AUTH_USER", b"ann"),), NO),
        # What names nobody, hides something, or is too long.
        ("10.0.0.5", ((b"x-auth-user", b""),), NO),
        ("10.0.0.5", ((b"x-auth-user", b"   "),), NO),
        ("10.0.0.5", ((b"x-auth-user", b"a" * 129),), NO),
        ("10.0.0.5", ((b"x-auth-user", b"ann\x1b[31m"),), NO),
        ("10.0.0.5", ((b"x-auth-user", "ann\u202e".encode()),), NO),
        ("10.0.0.5", ((b"x-auth-user", b"\xff\xfe"),), NO),
    ],
)
def test_who_a_trusted_header_names(
    address: str | None, headers: tuple[tuple[bytes, bytes], ...], outcome: object
) -> None:
    assert known(TRUSTING, address, *headers) == outcome
    # Where no header is named, none is looked at.
    assert known(PLAIN, address, *headers) is None


def test_a_cookie_stands_for_its_token_and_a_trusted_header_comes_before_it() -> None:
    cookie = SIGN_IN.cookie("ops", ADMIN.encode(), NOW_MS)
    said = (b"cookie", f"{COOKIE}={cookie}".encode())
    assert known(TRUSTING, "192.0.2.1", said) == Asker("ops", "admin")
    assert known(TRUSTING, "10.0.0.5", said, (b"x-auth-user", b"bob")) == Asker("bob", "viewer")
    assert known(TRUSTING, "192.0.2.1", said, ANN) == NO
    assert known(PLAIN, None, said, said) is None, "a cookie that comes twice is none"
    for name, secret in (("ann", ADMIN), ("ops", "t" * 32), ("gone", ADMIN)):
        made = SIGN_IN.cookie(name, secret.encode(), NOW_MS)
        assert known(PLAIN, None, (b"cookie", f"{COOKIE}={made}".encode())) is None


def test_forms_of_a_browser_that_a_server_in_front_signed_in_are_its_users() -> None:
    visitors = Visitors(SIGN_IN, lambda: TRUSTING)
    nonce = SIGN_IN.nonce()
    kept = (b"cookie", f"{FORM_COOKIE}={nonce}".encode())
    first, again, other, fresh = (
        visitors.of(headers, "10.0.0.5", NOW_MS)
        for headers in (
            (ANN, kept),
            (ANN, kept),
            ((b"x-auth-user", b"bob"), kept),
            (ANN,),
        )
    )
    assert first is not None and again is not None and other is not None and fresh is not None
    assert first.seed == again.seed and first.nonce == nonce
    assert len({first.seed, other.seed, fresh.seed}) == 3
    assert first.origin("10.0.0.5") == "page 10.0.0.5 X-Auth-User"
    assert PageVisitor(Asker("ops", "admin"), "x").origin(None) == "page unknown"


async def test_a_server_in_front_names_who_looks_and_the_audit_has_it(tmp_path: Path) -> None:
    trusting = {
        "trusted_header": "x-auth-user",
        "trusted_from": ["127.0.0.1"],
        "trusted_admins": ["ann"],
        "tokens": {},
    }
    async with office(tmp_path, admin=trusting) as admin, admin_browser(admin) as one:
        ann, bob = {"x-auth-user": "ann"}, {"x-auth-user": "bob"}
        _, text, headers = await one.get("/ui/keys/alice", headers=ann)
        assert "Suspend alice" in text and "Sign out" not in text
        assert "tollkeeper_admin_form=" in headers["Set-Cookie"]
        fields = {"token": one.form, "reason": "leaked"}
        for said in (bob, {}):
            answer = await one.post("/ui/keys/alice/suspend", fields, headers=said)
            assert (answer[0] == (403 if said else 303) and "Location" not in answer[2]) or not said
        assert "may only look" in (await one.get("/ui", headers=bob))[1]
        assert (await one.post("/ui/keys/alice/suspend", fields, headers=ann))[0] == 303
        _, text, _ = await one.get("/ui/audit", headers=bob)
        assert "<bdi>ann</bdi>" in text and "page 127.0.0.1 x-auth-user" in text
        status, text, _ = await one.get("/ui", headers={**ann, "X_Auth_User": "bob"})
        assert status == 403 and "in each of its spellings" in text
        assert "Your admin token" in (await one.get("/ui"))[1]
        # The header opens no API.
        async with one.session.get(f"{one.url}/admin/v1/keys", headers=ann) as response:
            assert response.status == 403
