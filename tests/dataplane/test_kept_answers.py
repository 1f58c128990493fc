"""Whose answers the vendors keep. (Through the proxy: scenarios/test_kept_answers.py.)"""

from __future__ import annotations

import pytest

from proxy.core.dialects.contract import Call
from proxy.core.errors import ProxyError
from proxy.dataplane.kept_answers import KEPT_MAX, KeptAnswers, check_items
from proxy.dataplane.named_objects import Claimant
from proxy.dataplane.owners import Owners
from proxy.ledger.reading import KeptAnswer
from proxy.tenants.ring import Tenant
from tests.ledger.samples import make_record


def tenant(key_id: str, team: str | None) -> Tenant:
    return Tenant(key_id=key_id, team=team)


def test_a_team_shares_its_answers_and_a_key_without_one_has_its_own() -> None:
    kept = KeptAnswers()
    kept.learn(
        make_record(
            1, upstream_request_id="r1", team="t", key_id="a", input_tokens=7, output_tokens=3
        ),
        waits=False,
    )
    kept.learn(make_record(2, upstream_request_id="r2", team=None, key_id="c"), waits=False)
    assert kept.of("r1", tenant("b", "t")).tokens == 10
    assert kept.of("r2", tenant("c", None)).waiting is None
    for id, key_id, team in (
        ("r1", "a", None),
        ("r1", "a", "u"),
        ("r2", "a", None),
        ("r2", "c", "c"),
        ("r3", "a", "t"),
    ):
        with pytest.raises(ProxyError) as refused:
            kept.of(id, tenant(key_id, team))
        assert refused.value.status == 404


def test_an_id_that_is_known_does_not_change_its_owner() -> None:
    kept = KeptAnswers()
    kept.learn(make_record(1, upstream_request_id="r1", team="t"), waits=False)
    kept.learn(make_record(2, upstream_request_id="r1", team="u"), waits=False)
    assert kept.of("r1", tenant("x", "t"))
    kept.learn(make_record(3, upstream_request_id=None), waits=False)
    kept.learn(make_record(4, upstream_request_id="x" * 300), waits=False)
    assert kept.known("x" * 300) is None and kept.known(None) is None


def test_the_oldest_make_room_for_the_latest() -> None:
    kept = KeptAnswers()
    kept.restore(KeptAnswer(f"r{n}", "a", "t", "u", "m", 5) for n in range(KEPT_MAX + 2))
    assert kept.known("r1") is None and kept.known("r2") is not None


def test_what_waits_after_a_restart_is_told_by_its_record() -> None:
    kept = KeptAnswers()
    record = make_record(1, upstream_request_id="r1")
    kept.restore([KeptAnswer("r1", "a", "t", "u", "m", 5, record.id)])
    kept.wait([record, make_record(2, upstream_request_id="r9")])
    assert kept.known("r1").waiting is record  # type: ignore[union-attr]


def test_items_of_others_are_refused_and_unknown_references_where_an_account_is_shared() -> None:
    owners = Owners(repeated=True)
    owners.learn("v", "t", "a", ["mine"])
    owners.learn("v", "u", "b", ["theirs"])
    items = Claimant(owners, "v", "t", "c")

    def refused(items_named: tuple[str, ...], references: tuple[str, ...], shared: bool) -> bool:
        call = Call(endpoint="/v1/responses", model="m", items=items_named, references=references)
        try:
            check_items(call, items, shared=shared)
        except ProxyError as error:
            assert (error.status, error.code) == (404, "answer_not_found")
            return True
        return False

    for shared in (False, True):
        assert not refused(("mine",), ("mine",), shared)
        assert refused(("mine", "theirs"), (), shared), "whole items too"
        assert not refused(("unknown",), (), shared), "its content is its caller's"
        assert refused(("unknown",), ("unknown",), shared) is shared
