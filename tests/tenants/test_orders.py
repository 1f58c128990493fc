"""Each order makes the rows and the audit of one change, or says why it cannot be done."""

from __future__ import annotations

import hashlib
import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.settings import KeySettings, Settings, TeamSettings
from proxy.core.errors import ProxyError
from proxy.core.managed import State, TenantKind
from proxy.tenants import orders
from proxy.tenants.directory import Directory, said
from proxy.tenants.ring import KeyRing

CONFIG = Settings(
    teams={"research": TeamSettings()},
    keys={"alice": KeySettings(team="research", secret_sha256="aa" * 32)},
)
NOW_MS = 1_793_500_000_000
DAY_MS = 86_400_000


def by(at_ms: int = NOW_MS) -> orders.By:
    return orders.By("root", "socket", at_ms, "because")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def with_bob(**says: object) -> Directory:
    directory = Directory(CONFIG)
    change = orders.create_keys(directory, {"bob": digest("s1")}, says, by())
    return directory.with_rows(change.rows)


def test_an_expiry_in_days_is_the_moment_that_it_means() -> None:
    row = with_bob(expires="90d").rows[TenantKind.KEY, "bob"]
    assert said(row) == {"expires": "2027-01-30T02:26:40Z"}


def test_an_edit_changes_the_words_it_names_and_null_takes_one_back() -> None:
    directory = with_bob(team="research", models=["a"], labels={"x": "1"})
    change = orders.edit(
        directory, TenantKind.KEY, "bob", {"models": None, "labels": {"x": "2"}}, by()
    )
    [row], [entry] = change.rows, change.audit
    assert said(row) == {"team": "research", "labels": {"x": "2"}}
    assert entry.action == "key.edit" and entry.reason == "because"
    assert entry.before is not None and '"models":["a"]' in entry.before
    assert entry.after is not None and "models" not in entry.after
    assert digest("s1") not in entry.before + entry.after


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * DAY_MS), st.integers(0, 3 * DAY_MS)), min_size=1, max_size=6
    )
)
def test_at_any_time_the_newest_secret_is_good_and_one_replaced_is_for_its_grace_at_most(
    rotations: list[tuple[int, int]],
) -> None:
    directory, now_ms, ends = with_bob(), NOW_MS, {"s1": None}
    newest = "s1"
    for number, (wait_ms, grace_ms) in enumerate(rotations, start=2):
        now_ms += wait_ms
        ends = {
            name: (now_ms + grace_ms) if name == newest else min(end, now_ms)  # type: ignore[type-var]
            for name, end in ends.items()
        }
        newest = f"s{number}"
        ends[newest] = None
        change = orders.rotate(directory, "bob", digest(newest), by(now_ms), grace_ms / 1000)
        directory = directory.with_rows(change.rows)
    ring = KeyRing(directory)
    for name, at_ms in itertools.product(
        ends, sorted({NOW_MS, now_ms, *(end - 1 for end in ends.values() if end is not None)})
    ):
        end = ends[name]
        headers = [(b"authorization", b"Bearer " + name.encode())]
        if end is None or at_ms < end:
            assert ring.authenticate(headers, at_ms, False).key_id == "bob"
        else:
            with pytest.raises(ProxyError) as refused:
                ring.authenticate(headers, at_ms, False)
            assert refused.value.code == "key_revoked"


def test_a_revoked_team_takes_its_keys_with_it_unless_the_config_has_some() -> None:
    directory = Directory(CONFIG)
    directory = directory.with_rows(orders.create_team(directory, "lab", {}, by()).rows)
    made = {"bob": digest("s1"), "carol": digest("s2")}
    change = orders.create_keys(directory, made, {"team": "lab"}, by())
    directory = directory.with_rows(change.rows)
    done = orders.revoke(directory, TenantKind.TEAM, "lab", by())
    assert [(row.name, row.state) for row in done.rows] == [
        (name, State.REVOKED) for name in ("lab", "bob", "carol")
    ]
    assert [entry.action for entry in done.audit] == ["team.revoke", "key.revoke", "key.revoke"]
    keyed = msgspec.structs.replace(CONFIG, keys={"alice": KeySettings(team="lab")})
    with pytest.raises(ProxyError, match="has keys of this team: alice"):
        orders.revoke(directory.with_config(keyed), TenantKind.TEAM, "lab", by())


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines", "\x1b[31m"])
def test_a_reason_fits_into_one_line(reason: str) -> None:
    with pytest.raises(ProxyError, match="at most 200 printable"):
        orders.check_reason(reason)
