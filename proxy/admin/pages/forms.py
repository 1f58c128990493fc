"""Makes requests to the admin API of what a page's form says.

A form shows the words of a key or team as they stand, and all its fields come back. Only those that
differ are ordered, so that what a field cannot show stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

import msgspec

from proxy.admin.limits import CREDIT_PATH
from proxy.admin.reload import RELOAD_PATH
from proxy.admin.tenants import KEYS_PATH, TEAMS_PATH
from proxy.core.errors import ProxyError, invalid_request
from proxy.core.managed import TenantKind
from proxy.dataplane.pages.sign_in import PATH
from proxy.tenants.directory import Directory, said

FIELDS_MAX: Final = 24
NONE: Final = "none"  # a limit's line that says: no limits, the defaults neither
_VERBS: Final = ("suspend", "resume", "rotate", "revoke", "edit")
_KINDS: Final = {"keys": (TenantKind.KEY, KEYS_PATH), "teams": (TenantKind.TEAM, TEAMS_PATH)}
_WORDS: Final = {
    TenantKind.KEY: ("team", "role", "models", "expires", "labels", "limits", "limits_add"),
    TenantKind.TEAM: ("models", "labels", "limits", "limits_add"),
}


class FormOrder(msgspec.Struct, frozen=True):
    """A request to a route of the admin API, and the page behind it.

    `then` makes the address of that page from the answer. `shows_secrets`: the answer is the page.
    """

    method: str
    path: str
    body: dict[str, object]
    then: Callable[[Any], str]
    places: dict[str, str] = {}
    query: tuple[tuple[str, str], ...] = ()
    shows_secrets: bool = False


def order_of(page: str, rest: str, form: Mapping[str, str], directory: Directory) -> FormOrder:
    """The order of a form that was sent to this page. Raises ProxyError 400, 404 or 405."""
    if page == "credit" and not rest:
        return _credit(form)
    if page == "config" and rest == "reload":
        return FormOrder("POST", RELOAD_PATH, _why(form), lambda _: f"{PATH}/config?done=reload")
    if page in _KINDS:
        kind, path = _KINDS[page]
        name, _, verb = rest.partition("/")
        if not name:
            return _new(kind, path, form)
        if verb in _VERBS and (verb != "rotate" or kind is TenantKind.KEY):
            return _of_one(kind, page, path, name, verb, form, directory)
    raise ProxyError(
        405,
        "invalid_request_error",
        "method_not_allowed",
        "This page takes no form. Go back to the page whose form you sent.",
        headers=(("allow", "GET, HEAD"),),
    )


def words_of(kind: TenantKind, says: Mapping[str, Any]) -> dict[str, str]:
    """What a key or team says, as the fields of its form show it."""
    return {word: _written(word, says.get(word)) for word in _WORDS[kind]}


def version_of(words: Mapping[str, str]) -> str:
    """A text that differs where the words do. A form sends it back: two people may edit at once."""
    return sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]


def _new(kind: TenantKind, path: str, form: Mapping[str, str]) -> FormOrder:
    name = form.get("name", "").strip()
    says = _said(kind, form, {})
    body: dict[str, object] = {"name": name, "says": says, **_why(form)}
    page = "keys" if kind is TenantKind.KEY else "teams"
    if kind is TenantKind.KEY and form.get("count", "").strip():
        body["count"] = _number(form["count"].strip(), "count")
    return FormOrder(
        "POST",
        path,
        body,
        lambda _: f"{PATH}/{page}/{quote(name, safe='')}?done=create",
        shows_secrets=kind is TenantKind.KEY,
    )


def _of_one(
    kind: TenantKind,
    page: str,
    path: str,
    name: str,
    verb: str,
    form: Mapping[str, str],
    directory: Directory,
) -> FormOrder:
    one, places = f"{path}/{{name}}", {"name": name}
    back = f"{PATH}/{page}/{quote(name, safe='')}?done={verb}"
    body = _why(form)
    if verb == "edit":
        row = directory.rows.get((kind, name))
        now = {} if row is None else said(row)
        if form.get("seen", version_of(words_of(kind, now))) != version_of(words_of(kind, now)):
            message = (
                f"{name!r} was changed since your page was made, so nothing was done. Open its page"
                " again and make your change there."
            )
            raise ProxyError(409, "invalid_request_error", "changed_meanwhile", message)
        says = _said(kind, form, now)
        return FormOrder("PATCH", one, {**body, "says": says}, lambda _: back, places)
    if verb == "rotate":
        grace = form.get("grace", "").strip()
        body = body | ({"grace": grace} if grace else {})
        return FormOrder("POST", f"{one}/rotate", body, str, places, shows_secrets=True)
    if verb == "resume":
        return FormOrder("POST", f"{one}/resume", body, lambda _: back, places)
    if verb == "revoke" and form.get("sure", "").strip() != name:
        raise invalid_request(
            f"To end {name!r} for good, write its name into the field beside the button. Nothing"
            " was done.",
            param="sure",
        )
    query = (("cut", "true"),) if form.get("cut") else ()
    method, route = ("DELETE", one) if verb == "revoke" else ("POST", f"{one}/{verb}")
    return FormOrder(method, route, body, lambda done: f"{back}&ended={done.ended}", places, query)


def _credit(form: Mapping[str, str]) -> FormOrder:
    limit = form.get("limit", "")
    body: dict[str, object] = {
        "amount": form.get("amount", "").strip(),
        "reason": form.get("reason", ""),
    }
    until = form.get("until", "").strip()
    body |= {"until": until} if until else {}
    back = f"{PATH}/credit?limit={quote(limit, safe='')}&done=credit"
    return FormOrder("POST", CREDIT_PATH, body, lambda _: back, {"limit": limit})


def _why(form: Mapping[str, str]) -> dict[str, object]:
    return {"reason": form.get("reason") or None}


def _said(kind: TenantKind, form: Mapping[str, str], now: Mapping[str, Any]) -> dict[str, Any]:
    """The words that differ from those of now; None takes a word back."""
    shown = words_of(kind, now)
    shown |= {"role": shown["role"] or "member"} if "role" in shown else {}
    found: dict[str, Any] = {}
    for word in _WORDS[kind]:
        text = form.get(word)
        if text is not None and _lines(text) != _lines(shown[word]):
            value = _read(word, _lines(text))
            if value is not None or word in now:
                found[word] = value
    return found


def _read(word: str, lines: list[str]) -> object:
    """What the lines of a field mean; None where there are none."""
    if not lines:
        return None
    if word == "labels":
        pairs = [line.partition("=") for line in lines]
        for name, sign, _ in pairs:
            if not sign:
                raise invalid_request(
                    f"labels: write one a line as name=value; found {name[:80]!r}.", param=word
                )
        return {name.strip(): value.strip() for name, _, value in pairs}
    if word in ("limits", "limits_add"):
        return [] if lines == [NONE] else [_limit(line, word) for line in lines]
    if word == "models":
        return lines
    if len(lines) > 1:
        raise invalid_request(f"{word}: write it in one line.", param=word)
    return lines[0]


def _limit(line: str, word: str) -> object:
    """A limit's text, or a mapping of config.yaml as JSON."""
    if not line.startswith("{"):
        return line
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise invalid_request(
            f'{word}: {line[:80]!r} is no JSON; write a limit as 500 USD/month, or as {{"limit":'
            ' "500 USD/month", "enforce": "strict"}.',
            param=word,
        ) from error


def _written(word: str, value: object) -> str:
    """The lines of a field that `_read` reads as this value."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return "\n".join(f"{name}={said}" for name, said in value.items())
    if isinstance(value, list):
        if not value and word in ("limits", "limits_add"):
            return NONE
        return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in value)
    return str(value)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _number(text: str, param: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise invalid_request(f"{param}: write a whole number.", param=param)
    return int(text)
