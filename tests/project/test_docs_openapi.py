"""The page of the admin API's routes is what a process serves."""

from __future__ import annotations

from pathlib import Path

from tools.openapi import served, text

PAGE = Path(__file__).parents[2] / "docs" / "openapi.json"


async def test_the_page_is_what_is_served(tmp_path: Path) -> None:
    assert text(await served(tmp_path)) == PAGE.read_bytes(), "run `make openapi`"
