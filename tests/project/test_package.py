"""What is installed: the wheel holds the data beside the code, and nothing that runs by itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.waiting import GUARD_S

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parent.parent.parent


SHIPPED = {"config.yaml": "config.yaml", "config.schema.json": "docs/config.schema.json"} | {
    path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
    for path in (ROOT / "dashboards").rglob("*")
    if path.is_file()
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since building writes beside the sources; with the setuptools of this
    environment, since there may be no network."""
    home = tmp_path_factory.mktemp("wheel")
    source = home / "source"
    for name in (
        "pyproject.toml",
        "setup.py",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "config.yaml",
        "docs/config.schema.json",
    ):
        (source / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "dashboards", source / "dashboards")
    shutil.copytree(ROOT / "proxy", source / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    built = pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(home), str(source))
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr.strip().splitlines()[-1:]}")
    [path] = home.glob("tollkeeper-*.whl")
    return path


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        *words,
        "--no-index",
        "--quiet",
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=GUARD_S)


def test_the_wheel_holds_the_data_and_nothing_that_runs_by_itself(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        data = {path.name: path.read_bytes() for path in (ROOT / "proxy" / "data").iterdir()}
        assert {"README.md", "o200k_base.tiktoken.gz", "cl100k_base.tiktoken.gz"} <= set(data)
        for name, content in data.items():
            assert (
                hashlib.sha256(archive.read(f"proxy/data/{name}")).digest()
                == hashlib.sha256(content).digest()
            )
        for name, source in SHIPPED.items():
            assert archive.read(f"proxy/shipped/{name}") == (ROOT / source).read_bytes(), (
                "one source: the wheel has what the repository has"
            )
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "proxy").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}, (
        "all of the package, and no tests"
    )
    assert not [name for name in names if name.endswith(".pth")]
    assert "proxy/py.typed" in names


def test_an_installed_wheel_sets_a_directory_up(wheel: Path, tmp_path: Path):
    """In an environment of its own, whose other packages are this one's, since there may be no
    network."""
    venv.create(tmp_path / "venv", with_pip=False)
    installed = pip(
        "--python", str(tmp_path / "venv/bin/python"), "install", "--no-deps", str(wheel)
    )
    assert installed.returncode == 0, installed.stderr
    [packages] = (tmp_path / "venv/lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        }
        return subprocess.run(
            [tmp_path / "venv/bin/tollkeeper", *words],
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            cwd=tmp_path,
            env=environ,
        )

    made = call("init", "here")
    assert made.returncode == 0, made.stderr
    assert {
        path.relative_to(tmp_path / "here").as_posix()
        for path in (tmp_path / "here").rglob("*")
        if path.is_file()
    } == set(SHIPPED)
    for name, source in SHIPPED.items():
        assert (tmp_path / "here" / name).read_bytes() == (ROOT / source).read_bytes()
    checked = call("check", "-c", "here/config.yaml")
    assert checked.returncode == 0 and "valid" in checked.stdout, checked.stderr
