"""What an administrator says of a key or team is read as config.yaml is, with the same words."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.managed import Mistake, read_key, read_team
from proxy.config.settings import (
    AttributionSettings,
    Defaults,
    KeySettings,
    LimitDefaults,
    LimitSettings,
    PrivacySettings,
    Settings,
    TagSettings,
    TeamSettings,
)

DEFAULTS = Defaults(
    key=LimitDefaults(limits=(LimitSettings(limit="1 USD/day"),)),
    team=LimitDefaults(limits=(LimitSettings(limit="100 USD/month"),)),
)
KNOWN = Settings(teams={"research": TeamSettings()}, defaults=DEFAULTS)


def test_a_key_and_a_team_are_what_config_yaml_would_make_of_the_same_words() -> None:
    says = {
        "team": "research",
        "models": ["gpt-*"],
        "expires": "2027-01-01",
        "labels": {"who": "bob"},
        "limits": ["60 requests/minute", {"limit": "5 USD/day", "warn_at": ["80%"]}],
    }
    assert read_key("bob", says, KNOWN) == KeySettings(
        team="research",
        models=("gpt-*",),
        expires="2027-01-01",
        labels={"who": "bob"},
        limits=(
            LimitSettings(limit="60 requests/minute"),
            LimitSettings(limit="5 USD/day", warn_at=("80%",)),
        ),
    )
    assert read_team("lab", {"limits_add": ["9 USD/day"]}, KNOWN) == TeamSettings(
        limits_add=(LimitSettings(limit="9 USD/day"),)
    )


@pytest.mark.parametrize(
    ("says", "said"),
    [
        ({"team": "reserch"}, "there is no team 'reserch'; the nearest is research"),
        ({"limits": ["60 reqests/minute"]}, "limits"),
        ({"limits": ["5 EUR/day"]}, "write the amount in USD"),
        ({"limits": ["1 USD/day", "2 USD/day"]}, "same count"),
        ({"expires": "someday"}, "expires"),
        ({"secret_file": "/etc/passwd"}, "cannot be said of a key"),
        ({"secret": "x"}, "cannot be said of a key"),
        ({"models": "gpt-4o"}, "expected a list"),
        ({"labels": {"a": 1.5}}, "labels.a"),
        ({"markup": "0.2"}, "cannot be said of a key"),
        ({"limits_add": ["2 USD/day"]}, "same count as one of defaults"),
        ({"models": [["gpt"]]}, "models"),
    ],
)
def test_what_config_yaml_would_refuse_is_refused_with_the_same_words(
    says: dict[str, Any], said: str
) -> None:
    with pytest.raises(Mistake, match=said):
        read_key("bob", says, KNOWN)


def test_a_team_says_what_teams_can_say() -> None:
    with pytest.raises(Mistake, match="cannot be said of a team here; the nearest is"):
        read_team("lab", {"team": "research"}, KNOWN)
    with pytest.raises(Mistake, match="fwd-"):
        read_key("fwd-1", {}, KNOWN)


def test_a_limit_per_value_goes_by_what_this_config_keeps() -> None:
    """And not by what a config keeps that says nothing of it."""
    runs = Settings(
        attribution=AttributionSettings(tags=TagSettings(keep=("run",))),
        privacy=PrivacySettings(end_user="off"),
    )
    says = {"limits": ["5 USD/day per tag:run"]}
    assert read_team("lab", says, runs).limits == (LimitSettings(limit="5 USD/day per tag:run"),)
    assert read_key("bob", says, runs).limits == (LimitSettings(limit="5 USD/day per tag:run"),)
    with pytest.raises(Mistake, match="the tag feature is not kept"):
        read_key("bob", {"limits": ["5 USD/day per tag:feature"]}, runs)
    with pytest.raises(Mistake, match="no end user is kept"):
        read_key("bob", {"limits": ["5 USD/day per end_user"]}, runs)
