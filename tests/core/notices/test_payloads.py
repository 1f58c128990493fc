"""The bodies that go out: nothing in a name is markup, and nothing is too large."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.core.notices.payloads import MERGED_MAX, generic, slack, teams
from tests.core.notices.samples import HOSTILE, a_notice

TEAMS_BYTES_MAX = 28 * 1024 - 4096  # what Teams adds counts too


def read(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])


def runs(body: bytes) -> list[str]:
    """The lines of a card."""
    [attachment] = read(body)["attachments"]
    return [run["text"] for block in attachment["content"]["body"] for run in block["inlines"]]


def test_slack_gets_a_text_without_markup() -> None:
    assert read(slack([a_notice("Research & <development> is near.")])) == {
        "text": "Research &amp; &lt;development&gt; is near.\nUsed: 4 of 5\nResets: 2026-12-01 00:00 UTC",
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def test_a_name_mentions_nobody_in_slack() -> None:
    text = read(slack([a_notice(HOSTILE, facts=((HOSTILE, HOSTILE),))]))["text"]
    assert "<" not in text and ">" not in text
    assert text.count("\n") == 1, "one line for the title, one for the fact"


def test_teams_gets_one_card_of_plain_runs() -> None:
    body = read(teams([a_notice("a_b_c is *near*.")]))
    assert body["type"] == "message"
    [attachment] = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert card["body"][0] == {
        "type": "RichTextBlock",
        "inlines": [{"type": "TextRun", "text": "a_b_c is *near*.", "weight": "Bolder"}],
    }
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}, (
        "a TextBlock is Markdown, and eats the underscores of names"
    )
    assert runs(teams([a_notice("x")])) == ["x", "Used: 4 of 5", "Resets: 2026-12-01 00:00 UTC"]


@pytest.mark.parametrize("form", [slack, teams])
def test_several_notices_are_their_sentences(form: Any) -> None:
    notices = [a_notice(f"Number {n}.") for n in range(3)]
    text = form(notices).decode()
    assert [text.count(f"Number {n}.") for n in range(3)] == [1, 1, 1] and "4 of 5" not in text


@pytest.mark.parametrize("title", ["\x00", "汉", "🧨", "<", '"', "\\", "\u202e"])
def test_the_largest_message_is_within_what_teams_takes(title: str) -> None:
    fact = (title * 5000, title * 5000)
    many = [a_notice(title * 5000, facts=(fact,) * 4) for _ in range(MERGED_MAX)]
    assert len(teams(many)) < TEAMS_BYTES_MAX and len(teams(many[:1])) < TEAMS_BYTES_MAX


def test_a_program_gets_type_time_and_data() -> None:
    assert read(generic(a_notice("Near\nit.", team="research"))) == {
        "type": "limit_near",
        "timestamp": "2026-12-01T00:00:00+00:00",
        "data": {"text": "Near it.", "team": "research", "used": 4, "resets_at": None},
    }
