"""A picture of rates: for each case a group of bars, as long as the logarithm of the rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

ROW, GAP, LEFT, WIDE = 18, 34, 130, 560


def bars(rates: Mapping[str, Mapping[str, float]], bold: str) -> str:
    """`rates` maps the title of a case to rate by target. `bold` is the target to point out.

    The scale is logarithmic, since gateways differ by a factor of a hundred: each figure stands
    beside its bar.
    """
    highest = max((rate for of in rates.values() for rate in of.values()), default=1.0)
    decades = max(1.0, math.log10(highest))
    drawn: list[str] = []
    y = 10
    for title, of in rates.items():
        y += GAP - 10
        drawn.append(f'<text x="10" y="{y}" font-weight="bold">{escape(title)}</text>')
        y += 8
        for name, rate in of.items():
            length = max(1.0, WIDE * math.log10(max(rate, 1.0)) / decades)
            fill = "#2f6f4f" if name == bold else "#9aa5b1"
            weight = "bold" if name == bold else "normal"
            drawn.append(
                f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" font-weight="{weight}">'
                f'{escape(name)}</text><rect x="{LEFT}" y="{y}" width="{length:.0f}"'
                f' height="{ROW - 4}" fill="{fill}"/>'
                f'<text x="{LEFT + length + 6:.0f}" y="{y + 13}">{rate:,.0f}</text>'
            )
            y += ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 100} {y + 30}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#222">'
        '<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(drawn)
        + f'\n<text x="10" y="{y + 20}" fill="#666">Lengths are logarithmic.</text></svg>\n'
    )
