"""What a limit may count apart, and the value that a request counts for."""

from __future__ import annotations

import pytest

from proxy.core.limits.dimensions import MISSING, dimension, header_of, value_of


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("end_user", "end_user"),
        ("tag:run", "tag:run"),
        ("header:X-Session-Id", "header:x-session-id"),
    ],
)
def test_a_header_is_known_by_its_small_letters(text: str, told: str) -> None:
    assert dimension(text) == told == dimension(told)


@pytest.mark.parametrize(
    "text",
    ["", "user", "tag:", "tag:a b", "tag:a=b", "tag:a,b", "header:", "header:x y", "header:x:y",
     "header:é", "End_User", f"tag:{65 * 'x'}"],
)  # fmt: skip
def test_what_names_nothing_is_refused_with_what_does(text: str) -> None:
    with pytest.raises(ValueError, match="end_user, tag:NAME or header:NAME"):
        dimension(text)


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Api-Key", "api-key"])
def test_no_secret_is_booked_as_a_value(name: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        dimension(f"header:{name}")


def test_the_value_is_what_the_record_holds() -> None:
    tags = {"run": "r1", "header:x-session-id": "s1"}
    assert value_of("end_user", "u1", tags) == "u1"
    assert value_of("tag:run", "u1", tags) == "r1"
    assert value_of("header:x-session-id", "u1", tags) == "s1"
    assert value_of("end_user", None, tags) == value_of("tag:env", "u1", tags) == MISSING


def test_only_header_dimensions_are_read_of_a_head() -> None:
    assert header_of("header:x-run") == "x-run"
    assert header_of("tag:x-run") is header_of("end_user") is header_of(None) is None
