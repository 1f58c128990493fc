"""The bytes that a closed statement is kept and signed as.

It is one JSON object in UTF-8, without whitespace, its names sorted. Integers are decimal digits in
text, so that no reader rounds them. The same statement always gives the same bytes.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from proxy.core.money import decimal
from proxy.core.statements.tally import SUMS

FORMAT: Final = "tollkeeper statement 1"
# SubjectPublicKeyInfo of an ed25519 key (RFC 8410), before the 32 bytes of the key.
_SPKI: Final = bytes.fromhex("302a300506032b6570032100")


def frozen(value: object) -> bytes:
    """The bytes of a statement. Raises TypeError for a number that is no integer."""
    told = msgspec.to_builtins(value)
    assert isinstance(told, dict), "a statement is an object"
    return msgspec.json.encode(_texts({**told, "format": FORMAT}), order="sorted")


def digest(document: bytes) -> str:
    """SHA-256 of the bytes, 64 hex digits."""
    return hashlib.sha256(document).hexdigest()


def public_pem(public_key: bytes) -> str:
    """The public key as openssl reads it."""
    return (
        "-----BEGIN PUBLIC KEY-----\n"
        f"{b64encode(_SPKI + public_key).decode()}\n-----END PUBLIC KEY-----\n"
    )


def key_of_pem(text: str) -> bytes:
    """The key of such a text, 32 bytes. Raises ValueError for any other."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if lines[:1] != ["-----BEGIN PUBLIC KEY-----"]:
        is_private = lines[:1] == ["-----BEGIN PRIVATE KEY-----"]
        raise ValueError(
            f"it is {'a private' if is_private else 'no public'} key in PEM: `tollkeeper statement "
            "show --save` writes public.pem"
        )
    raw = b64decode("".join(lines[1:-1]), validate=True)
    if not raw.startswith(_SPKI) or len(raw) != len(_SPKI) + 32:
        raise ValueError("its key is not of the kind ed25519")
    return raw[len(_SPKI) :]


def wrong_sums(told: Mapping[str, Any]) -> list[str]:
    """What does not add up in a statement, one sentence each.

    Each total is the sum of its lines, and what is due the sum of the totals. `told` is the decoded
    document. Raises KeyError, TypeError or ValueError for what is no statement.
    """
    found: list[str] = []
    due: dict[tuple[str, str], int] = {}
    for part in ("rows", "earlier"):
        lines, totals = told[part], _sums(told[part], "group")
        stated = _sums(lines, "total")
        found += [
            f"{part}: the total of {name} in {currency or 'no currency'} is "
            f"{stated.get((currency, name))}, and the lines come to {totals.get((currency, name))}"
            for currency, name in sorted(totals.keys() | stated.keys())
            if totals.get((currency, name)) != stated.get((currency, name))
        ]
        found += _wrong_decimals(part, lines)
        for (currency, name), value in totals.items():
            if name in ("cost_nano", "charge_nano"):
                due[currency, name] = due.get((currency, name), 0) + value
    said = {
        (one["currency"], name): int(one[name])
        for one in told["due"]
        for name in ("cost_nano", "charge_nano")
        if one[name] is not None
    }
    if said != due:
        found.append("due: it is not the sum of the totals")
    return found


def _sums(lines: Sequence[Mapping[str, Any]], row: str) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for line in lines:
        if line["row"] == row:
            for name, value in line.items():
                if value is not None and name in SUMS:
                    key = (line["currency"] or "", name)
                    found[key] = found.get(key, 0) + int(value)
    return found


def _wrong_decimals(part: str, lines: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"{part}: an amount is {line[name]} in one place and {line[f'{name}_nano']} in the other"
        for line in lines
        for name in ("cost", "charge")
        if line[name] != (None if (n := line[f"{name}_nano"]) is None else decimal(int(n)))
    ]


def _texts(value: Any) -> Any:
    """The same with integers as text."""
    if isinstance(value, dict):
        return {name: _texts(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(member) for member in value]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{value!r} has no place in a statement")
