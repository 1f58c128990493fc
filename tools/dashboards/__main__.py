"""Writes the files in dashboards/ from their source: `python -m tools.dashboards [--runbook URL]
[--out DIR]`, or `make dashboards`.

Give the address under which your people read docs/runbook.md, and dashboards and alerts link there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.dashboards.files import RUNBOOK, TARGET, files


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tools.dashboards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--runbook",
        default=RUNBOOK,
        metavar="URL",
        help="address of docs/runbook.md; default: %(default)s",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=TARGET,
        metavar="DIR",
        help="where to write; default: dashboards/",
    )
    arguments = parser.parse_args()
    for name, text in files(arguments.runbook).items():
        path = arguments.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
