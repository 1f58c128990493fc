"""The bodies of webhooks: Slack's, Teams' and one for programs. Nothing in a name is markup there.

Facts of the field, and what is done about them:

- Slack reads `&`, `<` and `>` as markup in any text, and nothing else if `mrkdwn` is false.
- Teams takes Adaptive Cards by its Workflows webhooks, at most 28 KB each; the connectors that took
  MessageCards have ended. A card's TextBlocks and Facts are Markdown, which eats the underscores of
  names and has no sure escape; a TextRun is plain text.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.core.notices.notice import Notice, iso, plain

MERGED_MAX = 10  # notices in one message for people; below 28 KB, whatever they say


def slack(notices: Sequence[Notice]) -> bytes:
    """The body for a Slack incoming webhook, and for those made like it."""
    text = "\n".join(_lines(notices))
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, entity)
    return msgspec.json.encode(
        {"text": text, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
    )


def teams(notices: Sequence[Notice]) -> bytes:
    """The body for a Teams webhook of the Workflows app: one Adaptive Card."""
    titles = {plain(notice.title) for notice in notices}
    blocks = [
        {
            "type": "RichTextBlock",
            "inlines": [
                {"type": "TextRun", "text": line} | ({"weight": "Bolder"} if line in titles else {})
            ],
        }
        for line in _lines(notices)
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": blocks,
    }
    return msgspec.json.encode(
        {
            "type": "message",
            "attachments": [
                {
                    "contentType": "application/vnd.microsoft.card.adaptive",
                    "contentUrl": None,
                    "content": card,
                }
            ],
        }
    )


def generic(notice: Notice) -> bytes:
    """The body for a program, as Standard Webhooks has it: `type`, `timestamp` and `data`."""
    data = {"text": plain(notice.title), "team": notice.team} | notice.data
    return msgspec.json.encode({"type": notice.event, "timestamp": iso(notice.at_ms), "data": data})


def _lines(notices: Sequence[Notice]) -> list[str]:
    """One notice with its facts, or the sentences of several."""
    if len(notices) > 1:
        return [plain(notice.title) for notice in notices]
    [notice] = notices
    return [plain(notice.title), *(plain(f"{name}: {value}") for name, value in notice.facts)]
