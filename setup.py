"""Puts into the wheel what an operator sets up with: the files stay where the repository has them,
so that there is one of each."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Where `proxy/cli/shipped.py` looks for them -> where they are.
SHIPPED = {
    "config.yaml": "config.yaml",
    "config.schema.json": "docs/config.schema.json",
    "dashboards": "dashboards",
}


class BuildWithShipped(build_py):
    """The package, and `proxy/shipped/` beside its modules. An editable install finds the files in
    the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        root, target = Path(__file__).parent, Path(self.build_lib) / "proxy" / "shipped"
        for name, source in SHIPPED.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if (root / source).is_dir():
                shutil.copytree(root / source, path, dirs_exist_ok=True)
            else:
                shutil.copyfile(root / source, path)


setup(cmdclass={"build_py": BuildWithShipped})
