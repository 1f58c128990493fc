"""docs/promises.md names tests that exist, all of the campaign's, and says where there are none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOC = ROOT / "docs" / "promises.md"
PROMISES = [f"I{number}" for number in range(1, 28)]


LISTS = ("make test", "make campaign", "Held by")


def promises() -> dict[str, tuple[str, ...]]:
    """Of each promise: its text, and its three lists."""
    found = {}
    for number, section in re.findall(
        r"^## (I\d+): .+\n((?:(?!^## ).*\n?)*)", DOC.read_text(), re.MULTILINE
    ):
        text, *lists = re.split(
            "".join(rf"|^\*\*{name}\*\*$" for name in LISTS)[1:], section, flags=re.MULTILINE
        )
        assert len(lists) == 3, f"{number}: its text, then {', '.join(LISTS)}, each with a list"
        found[number] = tuple(part.strip() for part in (text, *lists))
    return found


def existing() -> dict[str, bool]:
    """Every test by its id, and whether it belongs to the campaign."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test_"
            ):
                marks = [ast.unparse(decorator) for decorator in node.decorator_list]
                found[f"{path.relative_to(ROOT)}::{node.name}"] = "pytest.mark.campaign" in marks
    return found


def named() -> dict[str, list[str]]:
    return {
        number: re.findall(r"`([^`]+)`", held_by)
        for number, (_, _, _, held_by) in promises().items()
    }


def test_every_promise_has_tests_or_says_not_yet():
    assert list(promises()) == PROMISES
    for number, (promise, reduced, full, held_by) in promises().items():
        if not named()[number]:
            assert reduced == full == held_by == "- not yet", (
                f"{number}: name its tests, or write `not yet` in all three lists"
            )
        else:
            assert promise and "- not yet" not in (reduced, full), (
                f"{number}: it has tests, so say what they do"
            )


def test_every_named_test_exists():
    tests = existing()
    missing = [
        (number, name) for number, names in named().items() for name in names if name not in tests
    ]
    assert not missing, f"{missing}: follow the test that was renamed, or write `not yet`"


def test_every_campaign_test_is_named_and_says_its_figure():
    campaign = {name for name, in_campaign in existing().items() if in_campaign}
    assert not campaign - {name for names in named().values() for name in names}, (
        "name each campaign test under its promise"
    )
    for number, (_, reduced, full, _) in promises().items():
        has_one = bool(campaign & set(named()[number]))
        assert has_one == (full not in ("- the same", "- not yet")), (
            f"{number}: `the same` where no campaign test goes beyond {reduced!r}, else its figure"
        )
