"""Who is told of what, and under which id the database knows them."""

from __future__ import annotations

from proxy.config.settings import NotifySettings, Settings, TeamSettings
from proxy.core.notices.notice import EVENTS, TEAM_EVENTS
from proxy.core.notices.payloads import MERGED_MAX
from proxy.notify.receivers import NoticeReceiver, receivers_of
from tests.core.notices.samples import a_notice

URL = "https://hooks.example.com:8443/CANARY"


def receivers(*notify: NotifySettings, **teams: tuple[NotifySettings, ...]) -> list[NoticeReceiver]:
    said = {name: TeamSettings(notify=entries) for name, entries in teams.items()}
    return list(receivers_of(Settings(notify=notify, teams=said)))


def test_the_operator_hears_of_all_and_a_team_of_its_own() -> None:
    ops, research = receivers(NotifySettings(url=URL), research=(NotifySettings(url=URL),))
    assert (ops.events, research.events) == (EVENTS, TEAM_EVENTS)
    own, other = a_notice(team="research"), a_notice(team="sales")
    assert [ops.wants(own), ops.wants(other), ops.wants(a_notice())] == [True, True, True]
    assert [research.wants(own), research.wants(other), research.wants(a_notice())] == [
        True,
        False,
        False,
    ]


def test_only_what_is_named_is_told() -> None:
    [one] = receivers(NotifySettings(url=URL, events=("limit_reached",)))
    assert one.events == ("limit_reached",)
    assert not one.wants(a_notice()) and one.wants(a_notice(event="limit_reached"))


def test_names_are_for_people_and_show_no_secret() -> None:
    found = receivers(
        NotifySettings(url=URL), NotifySettings(name="ops", mail=("a@b.c",)),
        research=(NotifySettings(url=URL),),
    )  # fmt: skip
    assert [one.name for one in found] == ["notify[0]", "ops", "teams.research.notify[0]"]
    assert [one.where for one in found] == [
        "hooks.example.com:8443",
        "a@b.c",
        "hooks.example.com:8443",
    ]
    assert all("CANARY" not in one.id for one in found)


def test_an_id_stays_while_the_place_does() -> None:
    [one] = receivers(NotifySettings(url=URL))
    _, same = receivers(
        NotifySettings(url=URL + "2"), NotifySettings(url=URL, name="x", events=("limit_near",))
    )
    assert same.id == one.id, "neither its place in the list nor what it hears of is part of it"
    twice = receivers(NotifySettings(url=URL), NotifySettings(url=URL, events=("limit_near",)))
    assert len({receiver.id for receiver in twice}) == 2
    [mail], [turned] = (
        receivers(NotifySettings(mail=("a@b", "c@d"))),
        receivers(NotifySettings(mail=("c@d", "a@b"))),
    )
    assert mail.id == turned.id != one.id


def test_one_without_an_address_is_none() -> None:
    assert receivers(NotifySettings(format="slack")) == []


def test_programs_get_one_notice_a_message() -> None:
    found = receivers(
        NotifySettings(url=URL),
        NotifySettings(url=URL, format="slack"),
        NotifySettings(mail=("a@b",)),
    )
    assert [one.merged_max for one in found] == [1, MERGED_MAX, MERGED_MAX]
