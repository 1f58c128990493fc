"""A body names what its caller's team has made, or what nobody here has."""

from __future__ import annotations

import json

import pytest

from proxy.core.errors import ProxyError
from proxy.dataplane.named_objects import Claimant, check_named, check_whole, may_name_objects
from proxy.dataplane.owners import Owners


def claimant(team: str) -> Claimant:
    owners = Owners()
    owners.learn("v", "research", "alice", ["file-1"])
    return Claimant(owners, "v", team, "key")


@pytest.mark.parametrize(
    "body",
    [
        b'{"file_id":"file-1"}',
        b'{"container":"file-1"}',
        b'{"container":{"file_ids":["x","file-1"]}}',
        b'{"file\\u005fid":"file-\\u0031"}',
        b'{"text":"\\ud83d","file_id":"file-1"}',
        b'{"file_id":"x","file_id":"file-1"}',
    ],
)
def test_another_teams_object_is_found_in_any_spelling(body: bytes) -> None:
    assert may_name_objects(body)
    check_named(body, claimant("research"))
    with pytest.raises(ProxyError) as refused:
        check_named(body, claimant("sales"))
    assert (refused.value.status, refused.value.code) == (404, "object_not_found")


def test_only_a_body_that_is_no_call_has_to_name_files_that_are_known() -> None:
    for name in ("input_file_id", "training_file", "validation_file"):
        body = json.dumps({name: "file-2"}).encode()
        check_named(body, claimant("sales"))
        with pytest.raises(ProxyError):
            check_whole(body, claimant("research"))
    with pytest.raises(ProxyError) as refused:
        check_whole(b"{", claimant("sales"))
    assert refused.value.status == 400
    check_whole(b" ", claimant("sales"))
    assert not may_name_objects(b'{"messages":[]}')
