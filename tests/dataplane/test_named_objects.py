"""A body names what its caller's team has made, or what nobody here has."""

from __future__ import annotations

import json

import pytest

from proxy.core.errors import ProxyError
from proxy.dataplane.named_objects import Claimant, check_named, check_whole
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
    check_named(body, claimant("research"))
    with pytest.raises(ProxyError) as refused:
        check_named(body, claimant("sales"))
    assert (refused.value.status, refused.value.code) == (404, "object_not_found")


@pytest.mark.parametrize("before", [0, 1, 5, 7, 8, 9, 15, 16, 17])
def test_an_id_is_found_wherever_it_stands(before: int) -> None:
    """Also where one step of the look ends, and behind texts that are no ids."""
    fill = 64 * 1024 - len('["file_id","') - before
    body = json.dumps(["file_id", "x" * fill, "{", "file-1", 'say "file-1" to me']).encode()
    check_named(body, claimant("research"))
    with pytest.raises(ProxyError):
        check_named(body.replace(b", ", b","), claimant("sales"))
    text = json.dumps(["file_id", 'say "file-1" to me', '"file-1', 'file-1"']).encode()
    check_named(text, claimant("sales"))


def test_a_body_of_too_many_texts_is_not_looked_through() -> None:
    with pytest.raises(ProxyError) as refused:
        check_whole(b'["",' * 2**18 + b'""', claimant("sales"))
    assert refused.value.status == 400


def test_only_a_body_that_is_no_call_has_to_name_files_that_are_known() -> None:
    for name in ("input_file_id", "training_file", "validation_file"):
        body = json.dumps({name: "file-2"}).encode()
        check_named(body, claimant("sales"))
        with pytest.raises(ProxyError):
            check_whole(body, claimant("research"))
    check_whole(b" ", claimant("sales"))
