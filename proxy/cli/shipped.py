"""The files that an operator sets up with: the config with every setting, its schema, dashboards
and rules. In a wheel beside the modules, in a checkout where they are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def files() -> dict[str, bytes]:
    """Each file's path as it is to be written, and its content. Raises FileNotFoundError for an
    install that lacks them."""
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
