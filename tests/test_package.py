"""What is installed: the wheel holds the data beside the code, and nothing that runs by itself."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.waiting import GUARD_S

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parent.parent


@pytest.fixture
def wheel(tmp_path: Path) -> zipfile.ZipFile:
    """Built from a copy, since building writes beside the sources; with the setuptools of this environment, since there may be no network."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "proxy", source / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index", "--quiet", "-w", str(tmp_path), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=GUARD_S)
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr.strip().splitlines()[-1:]}")
    [path] = tmp_path.glob("tollkeeper-*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_data_and_nothing_that_runs_by_itself(wheel: zipfile.ZipFile):
    with wheel:
        names = wheel.namelist()
        data = {path.name: path.read_bytes() for path in (ROOT / "proxy" / "data").iterdir()}
        assert {"README.md", "o200k_base.tiktoken.gz", "cl100k_base.tiktoken.gz"} <= set(data)
        for name, content in data.items():
            assert hashlib.sha256(wheel.read(f"proxy/data/{name}")).digest() == hashlib.sha256(content).digest()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "proxy").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}, "all of the package, and no tests"
    assert not [name for name in names if name.endswith(".pth")]
    assert "proxy/py.typed" in names
