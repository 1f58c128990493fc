"""Prices for what a dead process left open: an alias is what it was when the request was sent.

The config of the present start may lead it elsewhere, or have it no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from proxy.core.entries import Opened
from proxy.core.model_names import sent_name
from proxy.core.pricing.amounts import Pricing
from proxy.core.pricing.book import PriceBook


class SentPrices:
    """The prices of now, and beside them a book for each set of aliases that no longer holds.

    `tell` gets the version and terms of each that prices something, since records pin them.
    """

    def __init__(
        self, now: Pricing, openings: Iterable[Opened], tell: Callable[[str, bytes], None]
    ) -> None:
        self._now = now
        self._then: dict[tuple[str, str, str], PriceBook] = {}
        if not isinstance(now, PriceBook):
            return
        aliases = now.content.aliases
        is_told = False
        for name in map(_name, openings):
            if name is None or sent_name(aliases, name[0], name[1]) == name[2]:
                # A process that takes over another's journal may have booked nothing by now.
                if not is_told:
                    tell(now.version, now.terms())
                is_told = True
            elif name not in self._then:
                upstream, asked, sent = name
                of_upstream = dict(sorted({**aliases.get(upstream, {}), asked: sent}.items()))
                changed = dict(sorted({**aliases, upstream: of_upstream}.items()))
                book = PriceBook(msgspec.structs.replace(now.content, aliases=changed))
                self._then[name] = book
                tell(book.version, book.terms())

    def of(self, opened: Opened) -> Pricing:
        """The prices of this exchange."""
        name = _name(opened)
        return self._now if name is None else self._then.get(name, self._now)


def _name(opened: Opened) -> tuple[str, str, str] | None:
    """The upstream, the alias and what was sent for it; None where it was none."""
    if opened.model_sent is None or opened.model_requested is None:
        return None
    return opened.upstream, opened.model_requested, opened.model_sent
