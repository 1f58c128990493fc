"""A parameter that the upstream's config sets is the config's alone, however a client writes it."""

from __future__ import annotations

import pytest

from proxy.core.http.query import names_in, without


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("a=b&c", "a=b&c"),
        ("api-version=1", ""),
        ("a=b&api-version=1", "a=b"),
        ("api-version=1&a=b&api-version=2&c=d", "a=b&c=d"),
        ("API-Version=1&x=%26", "x=%26"),
        ("api%2Dversion=1", ""),
        ("a=b;api-version=1", "a=b"),
        ("api-version[]=1&api-version[x]=2&api-version", ""),
        ("?api-version=1&api-version%00=2&api-version%00x=3", ""),
        ("+api-version=1&%20api-version=1", ""),
        (
            "x=api-version&my-api-version=1&api-versions=1",
            "x=api-version&my-api-version=1&api-versions=1",
        ),
        ("&&a=b", "&&a=b"),
    ],
)
def test_what_the_config_sets_is_taken_out_of_the_clients_query(query: str, left: str) -> None:
    assert without(query, {"api-version"}) == left


def test_without_names_a_query_is_as_it_came() -> None:
    assert without("a;b&&c=%zz", ()) == "a;b&&c=%zz"


def test_names_are_found_as_the_most_lenient_server_reads_them() -> None:
    target = "/v1/x?Model=a&mode%6c[]=b;%20n=1&?stream&a%00b=c"
    assert list(names_in(target)) == ["model", "model", "n", "stream", "a"]
    assert list(names_in("/v1/x")) == [""]
