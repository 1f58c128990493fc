"""Notices for tests."""

from __future__ import annotations

from proxy.core.notices.notice import Notice, Value


def a_notice(title: str = "The limit is near.", subject: str = "a", **more: object) -> Notice:
    given: dict[str, object] = {
        "event": "limit_near",
        "at_ms": 1_796_083_200_123,
        "subject": subject,
        "title": title,
        "facts": (("Used", "4 of 5"), ("Resets", "2026-12-01 00:00 UTC")),
        "data": {"used": 4, "resets_at": None},
        **more,
    }
    return Notice(**given)  # type: ignore[arg-type]


HOSTILE = "a<b>&*_~`[x](y)\n# <!channel> @here\r\nBcc: c@d \x1b[31m ${{x}} 汉字"
__all__ = ["HOSTILE", "Value", "a_notice"]
