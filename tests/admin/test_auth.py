"""Who may ask what: every credential against every kind of request on both listeners."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from proxy.admin.auth import Asker, Guard
from proxy.config.settings import AdminSettings, AdminToken
from proxy.core.errors import ProxyError

TOKENS = {
    "ops": AdminToken(token="secret-a", role="admin"),
    "board": AdminToken(token="secret-v", role="viewer"),
    "off": AdminToken(token="", role="admin"),
}
SOCKET, TCP, CLOSED = (
    Guard(None),
    Guard(lambda: AdminSettings(tokens=TOKENS), "admin.example"),
    Guard(lambda: AdminSettings(tokens={"off": TOKENS["off"]}), "127.0.0.1"),
)
JSON = {"Content-Type": "application/json"}
ADMIN, VIEWER = {"Authorization": "Bearer secret-a"}, {"Authorization": "Bearer secret-v"}
HERE = {"Host": "127.0.0.1:8791"}


def asked(guard: Guard, method: str, *headers: dict[str, str]) -> tuple[str, str] | str:
    """(name, role) of who is let in, or the code of the refusal."""
    merged = CIMultiDict({name: value for part in headers for name, value in part.items()})
    try:
        asker = guard.check(method, merged)
    except ProxyError as error:
        assert (
            error.status
            == {
                "origin_refused": 403,
                "host_refused": 403,
                "admin_disabled": 403,
                "role_not_allowed": 403,
                "invalid_admin_token": 401,
                "unsupported_media_type": 415,
            }[error.code]
        )
        assert ("WWW-Authenticate", "Bearer") in error.headers or error.status != 401
        assert not [
            token.token for token in TOKENS.values() if token.token and token.token in error.message
        ]
        return error.code
    assert isinstance(asker, Asker)
    return asker.name, asker.role


@pytest.mark.parametrize(
    ("guard", "method", "headers", "outcome"),
    [
        # the control socket: its file is the credential
        (SOCKET, "GET", (), ("socket", "admin")),
        (SOCKET, "POST", (JSON,), ("socket", "admin")),
        (SOCKET, "POST", (), "unsupported_media_type"),
        (SOCKET, "GET", ({"Origin": "http://127.0.0.1"},), "origin_refused"),
        (SOCKET, "GET", ({"origin": "null"},), "origin_refused"),
        (SOCKET, "POST", (JSON, {"Origin": ""}), "origin_refused"),
        # TCP: by token, role, host and kind
        (TCP, "GET", (HERE, ADMIN), ("ops", "admin")),
        (TCP, "GET", (HERE, VIEWER), ("board", "viewer")),
        (TCP, "HEAD", (HERE, VIEWER), ("board", "viewer")),
        (TCP, "POST", (HERE, ADMIN, JSON), ("ops", "admin")),
        (TCP, "POST", (HERE, VIEWER, JSON), "role_not_allowed"),
        (TCP, "DELETE", (HERE, VIEWER, JSON), "role_not_allowed"),
        (TCP, "POST", (HERE, ADMIN), "unsupported_media_type"),
        (TCP, "GET", (HERE, ADMIN, {"Origin": "http://127.0.0.1:8791"}), "origin_refused"),
        (TCP, "GET", (HERE,), "invalid_admin_token"),
        (TCP, "POST", (HERE, JSON), "invalid_admin_token"),
        (TCP, "GET", (HERE, {"Authorization": "Bearer secret-x"}), "invalid_admin_token"),
        (TCP, "GET", (HERE, {"Authorization": "Bearer "}), "invalid_admin_token"),
        (TCP, "GET", (HERE, {"Authorization": "Bearer"}), "invalid_admin_token"),
        (TCP, "GET", (HERE, {"Authorization": "Basic secret-a"}), "invalid_admin_token"),
        (TCP, "GET", (HERE, {"Authorization": "secret-a"}), "invalid_admin_token"),
        (TCP, "GET", (HERE, {"Authorization": "Bearer secret-\udcff"}), "invalid_admin_token"),
        (TCP, "GET", (HERE, {"authorization": "bearer  secret-a "}), ("ops", "admin")),
        (CLOSED, "GET", (HERE,), "admin_disabled"),
        (CLOSED, "GET", (HERE, {"Authorization": "Bearer "}), "admin_disabled"),
        (CLOSED, "POST", (HERE, JSON, ADMIN), "admin_disabled"),
    ],
)  # fmt: skip
def test_who_is_let_in(
    guard: Guard, method: str, headers: tuple[dict[str, str], ...], outcome: tuple[str, str] | str
) -> None:
    assert asked(guard, method, *headers) == outcome


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8791", True), ("127.0.0.1", True), ("[::1]:8791", True), ("[::1]", True), ("10.0.0.7:8791", True), ("localhost:8791", True), ("LOCALHOST", True),
        ("admin.example", True), ("Admin.Example:8791", True),
        ("attacker.example:8791", False), ("127.0.0.1.attacker.example", False), ("localhost.attacker.example", False), ("127.0.0.1@attacker.example", False),
        ("", False), (":8791", False), ("admin.example.", False), ("[::1", False),
    ],
)  # fmt: skip
def test_only_its_own_names_lead_to_it(host: str, ours: bool) -> None:
    """A page whose own name was looked up as 127.0.0.1 is of the same origin as this listener, and
    sends that name."""
    assert asked(TCP, "GET", ADMIN, {"Host": host}) == (
        ("ops", "admin") if ours else "host_refused"
    )


def test_a_listener_on_every_address_has_no_name_of_its_own() -> None:
    assert (
        asked(Guard(lambda: AdminSettings(tokens=TOKENS), ""), "GET", ADMIN, {"Host": ":8791"})
        == "host_refused"
    )


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("application/json", True), ("application/json; charset=utf-8", True), ("Application/JSON", True),
        ("text/plain", False), ("application/x-www-form-urlencoded", False), ("multipart/form-data; boundary=x", False), ("text/plain; application/json", False),
        ("application/jsonp", False),
    ],
)  # fmt: skip
def test_what_a_web_form_can_send_is_not_taken(content_type: str, taken: bool) -> None:
    assert asked(SOCKET, "POST", {"Content-Type": content_type}) == (
        ("socket", "admin") if taken else "unsupported_media_type"
    )


def test_the_tokens_are_those_in_effect_now() -> None:
    tokens = dict(TOKENS)
    guard = Guard(lambda: AdminSettings(tokens=tokens), "")
    assert asked(guard, "GET", HERE, ADMIN) == ("ops", "admin")
    del tokens["ops"]
    assert asked(guard, "GET", HERE, ADMIN) == "invalid_admin_token"


def test_public_names_of_the_config_are_answered_in_any_case() -> None:
    settings = AdminSettings(tokens=TOKENS, hosts=("Gateway.example.com",))
    guard = Guard(lambda: settings, "127.0.0.1")
    for host in ("gateway.example.com", "GATEWAY.example.com:443", "localhost", "[::1]:8791"):
        assert asked(guard, "GET", ADMIN, {"Host": host}) == ("ops", "admin")
    for host in ("example.com", "x.gateway.example.com", "gateway.example.com.attacker.example"):
        assert asked(guard, "GET", ADMIN, {"Host": host}) == "host_refused"
