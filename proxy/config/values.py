"""Reads the text of a config value and shows it again: one `Kind` for each sort of text.

Durations, sizes, decimals, addresses, limits and so on. A kind's `parse` raises ValueError with a
sentence that says what is expected. It never quotes the text, which may be a secret in the wrong
place.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from proxy.config.instants import DAY, INSTANT, day, instant
from proxy.config.networks import network
from proxy.config.secrets import digest
from proxy.config.zones import suggested
from proxy.core.dialects.inside import VALUES
from proxy.core.dialects.registry import BY_ENDPOINT
from proxy.core.http.hostnames import is_private
from proxy.core.limits.dimensions import dimension
from proxy.core.limits.language import parse
from proxy.core.spelling import nearest
from proxy.core.steering import STEERING_FIELDS, steering_field

_SLIP = 0.8  # as alike as a name and its misspelling
SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
}
BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
# Headers of one hop or of the message's framing: config may neither set nor let them through.
HOP_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_DURATION = r"(?:[0-9]{1,12}(?:\.[0-9]{1,20})?(?:ms|s|m|h|d))+"
_SIZE = r"([0-9]{1,19})(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)"
_DECIMAL = r"[0-9]{1,15}(?:\.[0-9]{1,18})?"
LABEL_CHARS_MAX = 500
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_USER = r"[!$-.0->A-Z^-~]+"  # without what ends the part before the @ in a URL: / ? # [ \ ]
_NAME = r"[^\W_][\w.@-]{0,63}"
_CURRENCY = r"[A-Z]{3}"
_QUOTA = r"memory:|(?:valkeys?|rediss?)://.+"
# A password with / or @ as they are would end at the wrong place.
_LEDGER = r"sqlite:.+|postgresql://(?:[^/?#@\s]*@)?[^/?#@\s]*(?:/[^?#@\s]*)?(?:\?[^#@\s]*)?"
_LEDGER_URL = (
    "sqlite:FILE or postgresql://USER:PASSWORD@HOST/DATABASE, with %2F for / and %40 for @"
)
_MAILBOX = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_HOURS = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)"


class Secret(str):
    """A credential: usable as text, but not shown where a struct that holds it is printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Reads text that has to match `pattern` as a whole."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"expected {expected}")
        return text

    return parse


def duration(text: str) -> float:
    """Seconds of `10s`, `100ms`, `1h30m`; 0 needs no unit."""
    if text == "0":
        return 0.0
    if not re.fullmatch(_DURATION, text):
        raise ValueError("expected a duration with its unit: 100ms, 10s, 5m, 1h, 7d")
    return float(
        sum(
            Decimal(number) * SECONDS[unit]
            for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h|d)", text)
        )
    )


def show_duration(value_s: float) -> str:
    """The shortest text that `duration` reads as exactly `value_s`."""
    exact = Decimal(str(value_s))
    for unit in ("d", "h", "m", "s"):
        if exact and exact % SECONDS[unit] == 0:
            return f"{exact / SECONDS[unit]:f}".removesuffix(".0") + unit
    return f"{exact / SECONDS['ms']:f}ms" if exact else "0s"


def size(text: str) -> int:
    """Bytes of `32MiB`."""
    match = re.fullmatch(_SIZE, text)
    if match is None:
        raise ValueError(
            "expected a size with its unit: 512KiB, 32MiB, 1GiB (or KB, MB, GB for powers of ten)"
        )
    return int(match[1]) * BYTES[match[2]]


def show_size(value_bytes: int) -> str:
    """The text with the largest unit that `size` reads as exactly `value_bytes`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value_bytes and value_bytes % BYTES[unit] == 0:
            return f"{value_bytes // BYTES[unit]}{unit}"
    return f"{value_bytes}B"


def zone(text: str) -> str:
    """A name of the IANA time zone database."""
    try:
        zoneinfo.ZoneInfo(text)
    # OSError: the name of a directory, such as Europe
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise ValueError(f"no such IANA time zone; {suggested(text)}") from error
    return text


def address(text: str) -> str:
    """`host:port` to listen on."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(_HOST, host) or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(
            "expected host:port with a port up to 65535, such as 127.0.0.1:8790, 0.0.0.0:8790 or"
            " [::1]:8790"
        )
    return text


_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})
# How a base URL ends that holds one too much, whether it is served here or not.
ENDPOINTS = (*(path.removeprefix("/v1") for path in BY_ENDPOINT), "/messages", "/models")


def leads_to(base_url: str, listen: str) -> bool:
    """Whether a base URL is an address that we listen on, as far as the text tells.

    A name of this machine may still lead back.
    """
    parts = urlsplit(base_url)
    host, _, port = listen.rpartition(":")
    if int(port) == 0 or (parts.port or {"http": 80, "https": 443}[parts.scheme]) != int(port):
        return False
    asked, own = (parts.hostname or "").lower(), host.strip("[]").lower()
    return asked == own or (asked in _THIS_MACHINE and own in _THIS_MACHINE)


def base_url(text: str) -> str:
    """An upstream's base URL, without its trailing slash."""
    expected = (
        "expected http(s)://host[:port][/path] without user, query or fragment, such as"
        " https://api.example.com/v1"
    )
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        raise ValueError(expected)
    try:
        parts = urlsplit(text)
        port_given = parts.port is None or parts.port > 0
    except ValueError as error:  # a port or an IPv6 address that is none
        raise ValueError(expected) from error
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not port_given
        or "@" in parts.netloc
        or "?" in text
        or "#" in text
    ):
        raise ValueError(expected)
    base = text.rstrip("/")
    for endpoint in ENDPOINTS:
        if base.endswith(endpoint):
            raise ValueError(
                f"expected the part before {endpoint}, which is added from each request:"
                f" {base.removesuffix(endpoint)}"
            )
    return base


def proxy_url(text: str) -> str:
    """An HTTP proxy, empty for none."""
    match = re.fullmatch(rf"https?://(?:{_USER}@)?{_HOST}:([0-9]{{1,5}})/?", text)
    if text and (match is None or int(match[1]) > 65_535):
        raise ValueError(
            "expected http://[user:password@]host:port, or nothing; signs such as / in a password"
            " are written %2F"
        )
    return Secret(text) if "@" in text else text


def webhook_url(text: str) -> str:
    """Where a notice is posted to, empty for nowhere. Its path is mostly the credential itself."""
    match = re.fullmatch(rf"(https?)://({_HOST})(?::([0-9]{{1,5}}))?(?:[/?][!-~]*)?", text)
    if text and (
        match is None
        or not 0 < int(match[3] or 443) <= 65_535
        or (match[1] == "http" and not is_private(match[2].strip("[]")))
        or "#" in text
        or "\\" in text
    ):
        raise ValueError(
            "expected https://host[:port]/path without user and fragment; http:// is for private"
            " hosts alone"
        )
    return Secret(text)


def secret(text: str) -> str:
    """A credential that fits into a header."""
    if re.match(r"bearer\s", text, re.IGNORECASE):
        raise ValueError("a secret has no blanks: leave out the word Bearer, which is added")
    if not re.fullmatch(r"[!-~\u00a1-\uffff]*", text):
        raise ValueError(
            "a secret has no blanks, line ends or control characters; check what was pasted"
        )
    return Secret(text)


def header_name(text: str) -> str:
    """A header that config may set or let through."""
    if not re.fullmatch(_TOKEN, text):
        raise ValueError("expected a header's name: letters, digits and dashes")
    if text.lower() in HOP_HEADERS:
        raise ValueError(
            "this header belongs to one connection or to the message's framing and cannot be"
            " configured; remove it"
        )
    return text


def steering(text: str) -> str:
    """A member of a request's body that chooses behind our back, to be let through all the same.

    Any object can hold a model of its own and be refused for it: tools, a template, `moderation`.
    """
    if steering_field(text) or text in ("extra_body", "prompt"):
        return text
    near = nearest(text, STEERING_FIELDS, _SLIP)
    if near is None and text in VALUES:
        near = nearest(text, STEERING_FIELDS)
    if near is not None:
        raise ValueError(
            "expected a field that is refused else; this one passes unnamed, and the nearest that"
            f" does not is {near}"
        )
    return text


def limit(text: str) -> str:
    """A limit's rule, in the language of `proxy.core.limits`. It stays text here: the limit made of
    it needs to know whose it is."""
    parse(text)
    return text


def path(text: str) -> Path:
    """A file or directory."""
    if not text or "\0" in text:
        raise ValueError("expected a path")
    return Path(text)


# Kinds of text that can also stand in a file, which `NAME_file` names.
FILED = frozenset({"secret", "webhook_url"})


class Kind(msgspec.Struct, frozen=True):
    """One kind of text: how it is read, how it is shown, and its pattern for editors."""

    parse: Callable[[str], object]
    pattern: str | None = None
    show: Callable[..., str] = str
    shown_in_errors: bool = True


def label_name(text: str) -> str:
    """The name of a label."""
    if not text.strip() or text != text.strip() or len(text) > 64 or not text.isprintable():
        raise ValueError("expected a label's name: 1 to 64 visible characters")
    return text


def label(text: str) -> str:
    """What a label says. It goes into exports and reports, so it is one line."""
    if len(text) > LABEL_CHARS_MAX or not text.isprintable():
        raise ValueError(f"expected one line of at most {LABEL_CHARS_MAX} visible characters")
    return text


KINDS = {
    "address": Kind(address),
    "base_url": Kind(base_url, "https?://.+", shown_in_errors=False),
    "currency": Kind(
        matching(_CURRENCY, "a currency code of three capitals such as USD"), _CURRENCY
    ),
    "date": Kind(day, DAY),
    "decimal": Kind(matching(_DECIMAL, 'a decimal number in quotes such as "0.28"'), _DECIMAL),
    "duration": Kind(duration, f"0|{_DURATION}", show_duration),
    "dimension": Kind(lambda text: dimension(text) if text else text),
    "end_user_source": Kind(
        matching(
            rf"header:{_TOKEN}|body:(?:user|safety_identifier|metadata\.\S+)",
            "header:NAME, body:user, body:safety_identifier or body:metadata.NAME",
        )
    ),
    "glob": Kind(matching(r"\S+", "a model's name without blanks, `*` and `?` as wildcards")),
    "header_name": Kind(header_name),
    "header_value": Kind(
        matching(
            r"[\t -~\u00a0-\u00ff]*", "a header's value: one line, no characters beyond Latin-1"
        ),
        shown_in_errors=False,
    ),
    "host": Kind(matching(rf"(?:{_HOST})?", "a host's name or address, without a port")),
    "hours": Kind(
        matching(_HOURS, 'hours of the UTC day such as "16:30-00:30", in quotes'), _HOURS
    ),
    "http_path": Kind(
        matching(r"/[!-)+-~]*\*?", 'a path that begins with "/", with `*` only at its end')
    ),
    "instant": Kind(instant, INSTANT),
    "label": Kind(label),
    "label_name": Kind(label_name),
    "ledger_url": Kind(matching(_LEDGER, _LEDGER_URL), _LEDGER, shown_in_errors=False),
    "limit": Kind(limit),
    "mail_address": Kind(
        matching(rf"(?:{_MAILBOX}@[A-Za-z0-9.-]+)?", "an address such as ops@example.com")
    ),
    "name": Kind(
        matching(
            _NAME,
            "a name of letters, digits and . _ - @, at most 64, that begins with a letter or digit",
        )
    ),
    "network": Kind(network),
    "origin": Kind(
        matching(
            r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9a-f:]+\](?::[0-9]{1,5})?",
            "an origin such as https://app.example.com, in small letters and without a path",
        )
    ),
    "path": Kind(path),
    "percent": Kind(
        matching(r"[0-9]{1,3}(?:\.[0-9]{1,3})?%", "a share such as 80%"),
        r"[0-9]{1,3}(\.[0-9]{1,3})?%",
    ),
    "proxy_url": Kind(proxy_url, shown_in_errors=False),
    "quota_url": Kind(
        matching(_QUOTA, "memory: or valkey://:PASSWORD@HOST:6379/0, valkeys:// for TLS"),
        _QUOTA,
        shown_in_errors=False,
    ),
    "secret": Kind(secret, shown_in_errors=False),
    "sha256": Kind(digest, shown_in_errors=False),
    "size": Kind(size, _SIZE, show_size),
    "steering_field": Kind(steering),
    "tag_source": Kind(matching(rf"header:{_TOKEN}|body:metadata", "header:NAME or body:metadata")),
    "webhook_url": Kind(webhook_url, "https?://.+", shown_in_errors=False),
    "zone": Kind(zone),
}
