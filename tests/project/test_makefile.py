"""What the Makefile runs: the tests of the project's shape once, however the goals are asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SHAPE = "tests/project"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not on this machine")


def pytest_runs(*words: str) -> list[str]:
    """The lines of `make WORDS` that would run pytest; nothing is run."""
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    printed = subprocess.run(
        ["make", "--dry-run", "ARGS=", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line for line in printed.splitlines() if " -m pytest " in line]


def test_the_project_is_tested_by_check_alone() -> None:
    [run] = pytest_runs("check")
    assert run.split()[-1] == SHAPE


@pytest.mark.parametrize("goals", [("check", "test"), ("test", "check")], ids=" ".join)
def test_both_goals_test_the_project_once_among_all_others(goals: tuple[str, ...]) -> None:
    [run] = pytest_runs(*goals)
    assert SHAPE not in run and '-m "not campaign"' in run


def test_what_args_narrow_leaves_the_project_to_check() -> None:
    project, narrowed = pytest_runs("check", "test", "ARGS=-k name")
    assert project.split()[-1] == SHAPE and narrowed.endswith("-k name")
