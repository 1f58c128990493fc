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


def test_a_key_that_got_a_new_secret_does_not_expire() -> None:
    """Its old secret does; who is told of keys that expire would look for another key."""
    directory = with_bob()
    change = orders.rotate(directory, "bob", digest("s2"), by(), 3600)
    assert KeyRing(directory.with_rows(change.rows)).expiries_ms() == {}
    directory = with_bob(expires="2090-01-01")
    [ends_ms] = KeyRing(directory).expiries_ms().values()
    change = orders.rotate(directory, "bob", digest("s2"), by(), 3600)
    assert KeyRing(directory.with_rows(change.rows)).expiries_ms() == {"bob": ends_ms}


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


@pytest.mark.parametrize("sha256", ["", "AB", "zz" * 32, "AB" * 32, "ab" * 33])
def test_no_order_takes_a_digest_that_no_secret_has(sha256: str) -> None:
    directory = with_bob()
    with pytest.raises(ProxyError, match="64 hexadecimal digits"):
        orders.rotate(directory, "bob", sha256, by())
    with pytest.raises(ProxyError, match="64 hexadecimal digits"):
        orders.create_keys(directory, {"carol": sha256}, {}, by())


def test_a_rotation_takes_no_secret_that_a_key_has_or_had() -> None:
    directory = with_bob()
    directory = directory.with_rows(orders.rotate(directory, "bob", digest("s2"), by()).rows)
    for sha256, owner in (("aa" * 32, "alice"), (digest("s1"), "bob"), (digest("s2"), "bob")):
        with pytest.raises(ProxyError, match=f"'{owner}' has this secret"):
            orders.rotate(directory, "bob", sha256, by())


def test_no_moment_lies_behind_the_calendar() -> None:
    directory = with_bob()
    with pytest.raises(ProxyError, match="expires: this is behind the year 9999"):
        orders.create_keys(directory, {"carol": digest("s2")}, {"expires": "9999999d"}, by())
    with pytest.raises(ProxyError, match="grace: this is behind the year 9999"):
        orders.rotate(directory, "bob", digest("s2"), by(), 9999999 * 86400)


def test_an_end_that_cannot_be_read_is_refused_with_all_that_can() -> None:
    with pytest.raises(ProxyError, match=r"2027-01-31, .* such as 90d; found 'tomorrow'"):
        orders.create_keys(Directory(CONFIG), {"b": digest("s")}, {"expires": "tomorrow"}, by())
    with pytest.raises(ProxyError, match=r"such as 90d; found '9 days'"):
        orders.edit(with_bob(), TenantKind.KEY, "bob", {"expires": "9 days"}, by())


@pytest.mark.parametrize(
    ("says", "said_of_it"),
    [
        ({}, "nothing to change. Name at least one of team, role, models"),
        ({"limit": None}, "'limit' cannot be said of a key"),
    ],
)
def test_an_edit_that_names_nothing_it_could_change_is_refused(
    says: dict[str, object], said_of_it: str
) -> None:
    with pytest.raises(ProxyError, match=said_of_it):
        orders.edit(with_bob(), TenantKind.KEY, "bob", says, by())


def test_one_order_says_only_so_much_of_so_many_keys() -> None:
    many = {f"k{n}": f"{n:064x}" for n in range(1000)}
    says = {"labels": {f"note {number}": "x" * 500 for number in range(40)}}
    with pytest.raises(ProxyError, match="say it of their team"):
        orders.create_keys(Directory(CONFIG), many, says, by())
    one = orders.create_keys(Directory(CONFIG), {"k": f"{0:064x}"}, says, by())
    assert len(one.rows) == 1


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65, "a\n", "\x00", "'; DROP TABLE audit"])
def test_a_name_that_cannot_be_is_not_repeated(name: str) -> None:
    with pytest.raises(ProxyError, match="name: expected a name of letters") as refused:
        orders.create_keys(Directory(CONFIG), {name: digest("s")}, {}, by())
    assert len(refused.value.message) < 150


def test_a_name_that_the_config_had_is_told_to_go_back_there() -> None:
    directory = Directory(CONFIG)
    row = orders.suspend(directory, TenantKind.KEY, "alice", by()).rows
    without = directory.with_rows(row).with_config(Settings())
    with pytest.raises(ProxyError, match=r"config\.yaml had a key 'alice'"):
        orders.create_keys(without, {"alice": digest("s")}, {}, by())


def test_a_revoked_name_does_not_come_back_through_the_config() -> None:
    directory = with_bob()
    directory = directory.with_rows(orders.revoke(directory, TenantKind.KEY, "bob", by()).rows)
    named = directory.with_config(Settings(keys={"bob": KeySettings(secret_sha256="bb" * 32)}))
    assert "never used again" in named.faults[TenantKind.KEY, "bob"]
    with pytest.raises(ProxyError, match="revoked for good"):
        orders.resume(named, TenantKind.KEY, "bob", by())


def test_a_suspension_keeps_what_the_database_has_of_a_name_that_the_config_has_too() -> None:
    directory = with_bob(labels={"x": "1"})
    named = directory.with_config(Settings(keys={"bob": KeySettings(secret_sha256="bb" * 32)}))
    [row] = orders.suspend(named, TenantKind.KEY, "bob", by()).rows
    assert row.state is State.SUSPENDED
    assert said(row) == {"labels": {"x": "1"}} and row.secrets[0].sha256 == digest("s1")


def test_an_order_that_cuts_says_so_in_each_row_and_a_later_one_still_knows_when() -> None:
    directory = Directory(Settings(teams={"research": TeamSettings()}, keys={}))
    closed = orders.suspend(directory, TenantKind.TEAM, "research", by())
    cut = orders.cutting(closed, NOW_MS)
    assert [row.cut_at_ms for row in cut.rows] == [NOW_MS] and cut.audit == closed.audit
    later = orders.resume(directory.with_rows(cut.rows), TenantKind.TEAM, "research", by())
    assert later.rows[0].cut_at_ms == NOW_MS
