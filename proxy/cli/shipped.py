"""The files to set up with: the config with every setting, its schema, dashboards and rules.

In a wheel they are beside the modules, in a checkout at their own places.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def files() -> dict[str, bytes]:
    """The content of each file, by the path to write it to.

    Raises FileNotFoundError for an installation that lacks them.
    """
    installed = _PACKAGE / "shipped"
    if installed.is_dir():
        roots = {
            "config.yaml": installed / "config.yaml",
            "config.schema.json": installed / "config.schema.json",
            "dashboards": installed / "dashboards",
        }
    else:
        checkout = _PACKAGE.parent
        roots = {
            "config.yaml": checkout / "config.yaml",
            "config.schema.json": checkout / "docs" / "config.schema.json",
            "dashboards": checkout / "dashboards",
        }
    found = {name: root.read_bytes() for name, root in roots.items() if name != "dashboards"}
    boards = roots["dashboards"]
    found |= {
        f"dashboards/{path.relative_to(boards).as_posix()}": path.read_bytes()
        for path in sorted(boards.rglob("*"))
        if path.is_file()
    }
    return found
