"""How config keys are declared."""

from __future__ import annotations

import pytest

from proxy.config.fields import about, seconds, size, yaml_name


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("connect_s", "connect"),
        ("max_bytes", "max"),
        ("from_", "from"),
        ("models", "models"),
        ("max_series", "max_series"),
        ("inflight_max", "inflight_max"),
    ],
)
def test_the_key_of_a_field(field: str, key: str) -> None:
    assert yaml_name(field) == key


def test_what_a_declaration_says() -> None:
    assert about("x", "name", at_least=1).extra == {"kind": "name", "at_least": 1}
    assert seconds("x").extra == {"kind": "duration", "above": 0, "at_most": 3660 * 86_400}
    assert seconds("x", zero=True).extra == {
        "kind": "duration",
        "at_least": 0,
        "at_most": 3660 * 86_400,
    }
    assert size("x", at_least=5).extra == {"kind": "size", "at_least": 5, "at_most": 2**60}
