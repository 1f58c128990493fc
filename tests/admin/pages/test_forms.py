"""What a form says becomes an order on what differs, and on nothing else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admin.pages.forms import FormOrder, order_of, words_of
from proxy.config.settings import Settings
from proxy.core.errors import ProxyError
from proxy.core.managed import Managed, TenantKind
from proxy.tenants.directory import Directory

SAYS = (
    b'{"team":"a","role":"lead","models":["x-*","y"],"expires":"2027-01-01T00:00:00Z","labels":'
    b'{"who":"me","=":"a=b"},"limits":["5 USD/day",{"limit":"9 USD/month","enforce":"strict"}],'
    b'"limits_add":[]}'
)


def directory(says: bytes = SAYS) -> Directory:
    return Directory(Settings(), [Managed(kind=TenantKind.KEY, name="k", says=msgspec.Raw(says))])


def order(page: str, rest: str, **form: str) -> FormOrder:
    return order_of(page, rest, form, directory())


SHOWN = {
    "team": "a",
    "role": "lead",
    "models": "x-*\ny",
    "expires": "2027-01-01T00:00:00Z",
    "labels": "who=me\n==a=b",
    "limits": '5 USD/day\n{"limit": "9 USD/month", "enforce": "strict"}',
    "limits_add": "none",
}


def test_what_stands_is_shown_and_ordered_by_no_form_that_leaves_it() -> None:
    assert words_of(TenantKind.KEY, msgspec.json.decode(SAYS)) == SHOWN
    assert order("keys", "k/edit", **SHOWN).body == {"reason": None, "says": {}}
    # As a browser sends it, and with blanks at the ends of lines.
    sent = {word: text.replace("\n", " \r\n") + "\r\n" for word, text in SHOWN.items()}
    assert order("keys", "k/edit", **sent).body["says"] == {}


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"team": ""}, {"team": None}),
        ({"role": "member"}, {"role": "member"}),
        ({"models": "y"}, {"models": ["y"]}),
        ({"models": "\r\n \r\n"}, {"models": None}),
        ({"labels": "a = b "}, {"labels": {"a": "b"}}),
        ({"limits": "none"}, {"limits": []}),
        ({"limits": ""}, {"limits": None}),
        ({"limits_add": "1 requests/day"}, {"limits_add": ["1 requests/day"]}),
        (
            {"limits": '{"limit": "9 USD/month", "enforce": "cut"}'},
            {"limits": [{"limit": "9 USD/month", "enforce": "cut"}]},
        ),
        ({"expires": "90d"}, {"expires": "90d"}),
        ({"expires": ""}, {"expires": None}),
    ],
)
def test_only_what_differs_is_ordered(form: dict[str, str], says: object) -> None:
    assert order("keys", "k/edit", **{**SHOWN, **form}).body["says"] == says
    assert order("keys", "k/edit", **form).body["says"] == says, "a field that is not there"


def test_a_new_key_says_what_was_filled_in() -> None:
    empty = dict.fromkeys(SHOWN, "") | {"role": "member", "name": " n ", "count": "", "reason": ""}
    assert order("keys", "", **empty).body == {"name": "n", "says": {}, "reason": None}
    made = order("keys", "", **{**empty, "team": "a", "count": "20", "reason": "why"})
    assert made.body == {"name": "n", "says": {"team": "a"}, "reason": "why", "count": 20}
    assert made.shows_secrets and not order("teams", "", name="t").shows_secrets
    assert order("teams", "", name="t").then(None) == "/ui/teams/t?done=create"


@pytest.mark.parametrize(
    ("page", "rest", "form", "code"),
    [
        ("keys", "k/other", {}, "method_not_allowed"),
        ("teams", "t/rotate", {}, "method_not_allowed"),
        ("audit", "", {}, "method_not_allowed"),
        ("config", "", {}, "method_not_allowed"),
        ("credit", "x", {}, "method_not_allowed"),
        ("keys", "k/revoke", {"sure": "K"}, "invalid_request"),
        ("keys", "k/revoke", {}, "invalid_request"),
        ("keys", "k/edit", {"labels": "x"}, "invalid_request"),
        ("keys", "k/edit", {"expires": "a\nb"}, "invalid_request"),
        ("keys", "k/edit", {"limits": "{" * 5000}, "invalid_request"),
        ("keys", "", {"name": "n", "count": "²"}, "invalid_request"),
    ],
)
def test_what_is_no_order_is_refused(page: str, rest: str, form: dict[str, str], code: str) -> None:
    with pytest.raises(ProxyError) as refused:
        order(page, rest, **form)
    assert refused.value.code == code


def test_the_way_of_each_order() -> None:
    for rest, form, way in (
        (
            "k/suspend",
            {"cut": "yes"},
            ("POST", "/admin/v1/keys/{name}/suspend", (("cut", "true"),)),
        ),
        ("k/suspend", {}, ("POST", "/admin/v1/keys/{name}/suspend", ())),
        ("k/resume", {}, ("POST", "/admin/v1/keys/{name}/resume", ())),
        ("k/revoke", {"sure": "k"}, ("DELETE", "/admin/v1/keys/{name}", ())),
        ("k/rotate", {"grace": "1h"}, ("POST", "/admin/v1/keys/{name}/rotate", ())),
        ("k/edit", {}, ("PATCH", "/admin/v1/keys/{name}", ())),
    ):
        made = order("keys", rest, **form)
        assert (made.method, made.path, made.query) == way and made.places == {"name": "k"}
    credit = order("credit", "", limit="team:a/USD/day", amount=" 5 ", reason="r", until="")
    assert credit.body == {"amount": "5", "reason": "r"}
    assert credit.then(None) == "/ui/credit?limit=team%3Aa%2FUSD%2Fday&done=credit"


_LINE = st.text(max_size=20)


@given(st.dictionaries(st.sampled_from([*SHOWN, "name", "count", "grace", "sure"]), _LINE))
def test_whatever_a_form_says_it_is_an_order_or_refused(form: dict[str, str]) -> None:
    for page, rest in (("keys", ""), ("keys", "k/edit"), ("keys", "k/revoke"), ("teams", "t/edit")):
        try:
            assert order(page, rest, **form).method
        except ProxyError as error:
            assert error.status == 400
