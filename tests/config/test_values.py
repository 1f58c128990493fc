"""Each kind of config text: what it accepts, what it makes of it, and that what is shown is read
back the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.values import KINDS, Secret, duration, show_duration, show_size, size

ACCEPTED: list[tuple[str, str, object]] = [
    ("duration", "0", 0.0),
    ("duration", "100ms", 0.1),
    ("duration", "10s", 10.0),
    ("duration", "1.5h", 5400.0),
    ("duration", "1h30m", 5400.0),
    ("duration", "7d", 604800.0),
    ("size", "0B", 0),
    ("size", "512KiB", 524288),
    ("size", "32MiB", 33554432),
    ("size", "1GB", 1000000000),
    ("size", "2TiB", 2199023255552),
    ("decimal", "0.28", "0.28"),
    ("decimal", "3", "3"),
    ("date", "2028-02-29", "2028-02-29"),
    ("hours", "16:30-00:30", "16:30-00:30"),
    ("hours", "00:00-24:00", "00:00-24:00"),
    ("instant", "2027-01-01", "2027-01-01"),
    ("instant", "2027-01-01T18:00+02:00", "2027-01-01T18:00+02:00"),
    ("instant", "2027-01-01T18:00:30Z", "2027-01-01T18:00:30Z"),
    ("address", "127.0.0.1:8790", "127.0.0.1:8790"),
    ("address", "[::1]:0", "[::1]:0"),
    ("address", "localhost:1", "localhost:1"),
    ("base_url", "https://api.example.com/v1/", "https://api.example.com/v1"),
    ("base_url", "http://h", "http://h"),
    ("base_url", "http://[::1]:8000/a/b", "http://[::1]:8000/a/b"),
    ("proxy_url", "", ""),
    ("proxy_url", "http://proxy:3128", "http://proxy:3128"),
    ("proxy_url", "http://u:p@proxy:3128", "http://u:p@proxy:3128"),
    ("secret", "", ""),
    ("secret", "sk-ключ", "sk-ключ"),
    ("path", "a/b", Path("a/b")),
    ("header_name", "X-Title", "X-Title"),
    ("header_value", "caf\xe9", "caf\xe9"),
    ("http_path", "/v1/files*", "/v1/files*"),
    ("origin", "https://app.example.com", "https://app.example.com"),
    ("origin", "http://[::1]:3000", "http://[::1]:3000"),
    ("currency", "CNY", "CNY"),
    ("glob", "gpt-*", "gpt-*"),
    ("percent", "80%", "80%"),
    ("percent", "99.5%", "99.5%"),
    ("zone", "Asia/Kathmandu", "Asia/Kathmandu"),
    ("webhook_url", "", ""),
    (
        "webhook_url",
        "https://hooks.slack.com/services/T0/B0/x",
        "https://hooks.slack.com/services/T0/B0/x",
    ),
    (
        "webhook_url",
        "https://h.example.com:8443?sig=a%2Fb&v=1",
        "https://h.example.com:8443?sig=a%2Fb&v=1",
    ),
    ("webhook_url", "http://127.0.0.1:9000/a", "http://127.0.0.1:9000/a"),
    ("webhook_url", "http://[fd00::1]:9000/a", "http://[fd00::1]:9000/a"),
    ("webhook_url", "http://alerts.monitoring.svc/a", "http://alerts.monitoring.svc/a"),
    ("host", "", ""),
    ("network", "10.0.0.0/8", "10.0.0.0/8"),
    ("network", "10.0.0.5", "10.0.0.5"),
    ("network", "fd00::/8", "fd00::/8"),
    ("host", "mail.example.com", "mail.example.com"),
    ("host", "[::1]", "[::1]"),
    ("mail_address", "", ""),
    ("mail_address", "ops+tollkeeper@mail.example.com", "ops+tollkeeper@mail.example.com"),
    ("name", "alice", "alice"),
    ("name", "研发", "研发"),
    ("name", "ann@example.com", "ann@example.com"),
    ("name", "a" * 64, "a" * 64),
    ("sha256", "", ""),
    ("sha256", "0" * 64, "0" * 64),
    ("dimension", "", ""),
    ("dimension", "header:X-Session-Id", "header:x-session-id"),
    ("end_user_source", "header:x-end-user", "header:x-end-user"),
    ("end_user_source", "body:metadata.user_id", "body:metadata.user_id"),
    ("steering_field", "models", "models"),
    ("steering_field", "providerOptions", "providerOptions"),
    # refused where they hold a model, or for what they stand for
    *[("steering_field", name, name) for name in ("tools", "prompt", "moderation", "extra_body")],
    ("tag_source", "body:metadata", "body:metadata"),
    ("label", "é: a b", "é: a b"),
    ("label", "", ""),
    ("label_name", "cost center", "cost center"),
    ("ledger_url", "sqlite:ledger.db", "sqlite:ledger.db"),
    (
        "ledger_url",
        "postgresql://app:p%40w@h:5433/db?sslmode=require",
        "postgresql://app:p%40w@h:5433/db?sslmode=require",
    ),
    ("quota_url", "memory:", "memory:"),
    *[
        ("limit", text, text)
        for text in (
            "60 requests/minute",
            "8 concurrent",
            "2_000_000 tokens/day",
            "500 USD/month",
            "0.50 EUR/total",
            "100 USD/month for gpt-*",
            "5 input_tokens/week for a-*, b",
            "0 requests/total",
            "10 output_tokens / hour",
        )
    ],
]
REFUSED = [
    ("duration", ""),
    ("duration", "10"),
    ("duration", "10 s"),
    ("duration", "-1s"),
    ("duration", "1w"),
    ("duration", "1e3s"),
    ("duration", "s"),
    ("duration", "10S"),
    ("size", "32"),
    ("size", "32mib"),
    ("size", "1.5GiB"),
    ("size", "32 MiB"),
    ("size", "-1B"),
    ("decimal", "1e3"),
    ("decimal", "-1"),
    ("decimal", ".5"),
    ("decimal", "1,5"),
    ("decimal", ""),
    ("decimal", "0.1234567890123456789"),
    ("decimal", "NaN"),
    ("decimal", "٣"),
    ("hours", "16:30"),
    ("hours", "24:00-01:00"),
    ("hours", "1:00-2:00"),
    ("hours", "10:60-11:00"),
    ("date", "2027-1-1"),
    ("date", "2027-02-30"),
    ("date", "20270101"),
    ("date", "2027-01-01T00:00"),
    ("instant", "2027-01-01T25:00"),
    ("instant", "tomorrow"),
    ("address", "8790"),
    ("address", ":8790"),
    ("address", "h:65536"),
    ("address", "h:"),
    ("address", "::1:80"),
    ("address", "http://h:80"),
    ("base_url", ""),
    ("base_url", "api.example.com/v1"),
    ("base_url", "http://"),
    ("base_url", "http://h/?a=b"),
    ("base_url", "http://h/#a"),
    ("base_url", "http://h?"),
    ("base_url", "http://u:p@h"),
    ("base_url", "http://h:99999"),
    ("base_url", "http://h:0"),
    ("base_url", "http://[::1"),
    ("base_url", "http://h /v1"),
    ("base_url", "http://h\\x"),
    ("base_url", "file:///etc/passwd"),
    ("proxy_url", "proxy:3128"),
    ("proxy_url", "socks5://p:1"),
    ("proxy_url", "http://proxy"),
    ("proxy_url", "http://p:65536"),
    ("proxy_url", "http://u:a/b@p:1"),
    ("secret", "a b"),
    ("secret", "a\n"),
    ("secret", "a\x7f"),
    ("path", ""),
    ("path", "a\0b"),
    ("header_name", "x y"),
    ("header_name", ""),
    ("header_name", "Content-Length"),
    ("header_name", "TE"),
    ("header_value", "a\r\nb"),
    ("header_value", "中"),
    ("http_path", "v1"),
    ("http_path", "/a*b"),
    ("origin", "https://app.example.com/"),
    ("origin", "https://App.example.com"),
    ("origin", "app.example.com"),
    ("currency", "usd"),
    ("currency", "USDT"),
    ("glob", ""),
    ("glob", "a b"),
    ("percent", "80"),
    ("webhook_url", "hooks.slack.com/services/x"),
    ("webhook_url", "http://hooks.slack.com/services/x"),
    ("webhook_url", "http://8.8.8.8/x"),
    ("webhook_url", "https://u:p@h/x"),
    ("webhook_url", "http://localhost@evil.example.com/x"),
    ("webhook_url", "https://h/x#y"),
    ("webhook_url", "https://h\\@g/x"),
    ("webhook_url", "https://h:0/x"),
    ("webhook_url", "https://h:65536/x"),
    ("webhook_url", "https://h/x y"),
    ("webhook_url", "https://h/x\r\nA: b"),
    ("webhook_url", "file:///etc/passwd"),
    ("host", "mail.example.com:25"),
    ("network", ""),
    ("network", "10.0.0.5/8"),
    ("network", "10.0.0.0/33"),
    ("network", "proxy.example.com"),
    ("network", "10.0.0"),
    ("host", "a b"),
    ("mail_address", "ops"),
    ("mail_address", "Ops <ops@example.com>"),
    ("mail_address", "a@b, c@d"),
    ("mail_address", "a@b\r\nBcc: c@d"),
    ("zone", "Berlin"),
    ("zone", "../etc/passwd"),
    ("name", ""),
    ("name", "-a"),
    ("name", "a b"),
    ("name", "a/b"),
    ("name", "a" * 65),
    ("name", "a\n"),
    ("sha256", "0" * 63),
    ("sha256", "A" * 64),
    ("sha256", hashlib.sha256(b"").hexdigest()),
    ("sha256", hashlib.sha256(b"\n").hexdigest()),
    ("sha256", hashlib.sha256(b"\r\n").hexdigest()),
    ("dimension", "tag:"),
    ("dimension", "header:cookie"),
    ("end_user_source", "user"),
    ("end_user_source", "body:metadata"),
    ("tag_source", "body:tags"),
    ("steering_field", "temperature"),
    ("label", "two\nlines"),
    ("label", "x" * 501),
    ("label_name", ""),
    ("label_name", " a"),
    ("label_name", "a\u202e"),
    ("ledger_url", "sqlite:"),
    ("ledger_url", "postgresql:"),
    ("ledger_url", "postgresql://app:a/b@h/db"),
    ("ledger_url", "postgresql://app:a@b@h/db"),
    ("ledger_url", "postgresql://h/db#x"),
    ("ledger_url", "postgresql://a b@h/db"),
    ("ledger_url", "postgres://h/db"),
    ("quota_url", "memory"),
    *[
        ("limit", text)
        for text in (
            "",
            "requests/minute",
            "60",
            "60 requests",
            "60 requests/",
            "60 Requests/minute",
            "60 requests/fortnight",
            "1.5 requests/day",
            "8 concurrent/day",
            "5 USD/hour",
            "5 usd/day",
            "-1 tokens/day",
            "5 tokens/day for",
            "5 tokens/day for a,,b",
            "5 tokens/day for a b",
            "1e6 tokens/day",
        )
    ],
]


@pytest.mark.parametrize(("kind", "text", "value"), ACCEPTED)
def test_accepted(kind: str, text: str, value: object) -> None:
    assert KINDS[kind].parse(text) == value


@pytest.mark.parametrize(("kind", "text"), REFUSED)
def test_refused(kind: str, text: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"expected|no such|no blanks|cannot be configured|concurrent takes|money|say per what|separated by commas",
    ):
        KINDS[kind].parse(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_does_not_quote_the_text(kind: str) -> None:
    for text in ("CANARY \n CANARY", "5 CANARY/day", "5 requests/CANARY", "\0CANARY"):
        try:
            KINDS[kind].parse(text)
        except ValueError as error:
            assert "CANARY" not in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_tried_both_ways(kind: str) -> None:
    assert kind in {name for name, *_ in ACCEPTED}
    assert kind in {name for name, _ in REFUSED}


@given(st.sampled_from(sorted(KINDS)), st.text())
def test_a_kind_reads_or_refuses_and_nothing_else(kind: str, text: str) -> None:
    try:
        KINDS[kind].parse(text)
    except ValueError as error:
        assert str(error)


@given(st.integers(0, 2**60))
def test_sizes_are_shown_as_they_are_read(value: int) -> None:
    assert size(show_size(value)) == value


@given(
    st.one_of(
        st.integers(0, 3660 * 86_400_000).map(lambda ms: ms / 1000),
        st.from_regex(r"[1-9][0-9]{0,3}(\.[0-9]{1,4})?(ms|s|m|h|d)", fullmatch=True).map(duration),
    )
)
def test_durations_are_shown_as_they_are_read(value_s: float) -> None:
    assert duration(show_duration(value_s)) == value_s


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.0, "0s"),
        (0.1, "100ms"),
        (0.0005, "0.5ms"),
        (10.0, "10s"),
        (60.0, "1m"),
        (90.0, "90s"),
        (600.0, "10m"),
        (3600.0, "1h"),
        (604800.0, "7d"),
        (36000.0, "10h"),
    ],
)
def test_durations_are_shown_with_their_largest_unit(value_s: float, text: str) -> None:
    assert show_duration(value_s) == text


def test_a_secret_is_text_but_is_not_printed_inside_a_struct() -> None:
    secret = Secret("sk-1")
    assert secret == "sk-1"
    assert f"Bearer {secret}" == "Bearer sk-1"
    assert "sk-1" not in repr([secret, {"a": secret}])
