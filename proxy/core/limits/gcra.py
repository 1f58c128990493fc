"""Limits that flow (per second, minute, hour): a leaky bucket, exact in integers.

It is the generic cell rate algorithm in another form. A bucket holds what was taken of late and
leaks `amount` units each period. Its level is counted in units x milliseconds of the period, so
that a millisecond leaks exactly `amount` of them and nothing is ever rounded: 7 requests/second are
seven, and a trillion tokens/hour lose none. While every admission leaves the level at or below
`burst`, any interval T sees at most burst + amount·T/period.

What a request takes is a guess that its end corrects. The correction is exact too: **the level is
always what it would be had each ended request taken, when it began, just what it turned out to
use**. What it used beyond that is taken when it turns out.

A request cannot simply give back what it did not use: the bucket may have leaked it long ago, and
the rest is what others took. It can give back at most the lowest level since it began. To know that
level, the bucket leaks the newest first: then what lies at the request's depth and below is just
that lowest level.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

LOOKBACK = 2  # times a bucket takes to run empty: see `lookback_ms`


def lookback_ms(amount: int, burst: int, period_ms: int) -> int:
    """How far back the use of a limit has to be known to say how full its bucket is now.

    Before that, the bucket is taken to have been full: nothing above the promise is let through,
    and if it was used by less than half since, it makes no difference.
    """
    return 0 if amount == 0 else -(-LOOKBACK * burst * period_ms // amount)


def refilled(
    leak: int, room: int, spent: Iterable[tuple[int, int]], *, since_ms: int, now_ms: int
) -> int:
    """The level of a bucket now, by what was spent: (when, how much).

    It is taken to have been full at `since_ms`. Amounts are in scaled units.
    """
    bucket = Bucket(leak, since_ms, room)
    for at_ms, amount in sorted(spent):
        if at_ms >= since_ms:
            bucket.flow(min(at_ms, now_ms))
            bucket.spend(amount)
    return bucket.flow(now_ms)


class Layer(msgspec.Struct, eq=False, gc=False):
    """A depth in a bucket: `amount` lies here, above `below`; at first it was `taken`.

    `holders` requests stand here that may give back. No garbage collector looks at them: a layer
    that is gone is in no cycle, and a bucket is never dropped with layers in it. A layer that has
    leaked away is gone from the bucket; requests that stood on it stand on the one below (`into`;
    itself at the bottom).
    """

    amount: int
    taken: int
    below: Layer | None
    above: Layer | None = None
    into: Layer | None = None
    holders: int = 1


class Bucket:
    """One running rate.

    Amounts are in scaled units (units x milliseconds of the period), times are milliseconds of one
    clock. Each step costs the same on average, however many requests are running: a layer is made
    once and goes once.
    """

    __slots__ = ("_bottom", "_loose", "_top", "at_ms", "leak", "level")

    def __init__(self, leak: int, at_ms: int, level: int = 0) -> None:
        self.leak = leak  # scaled units a millisecond: the limit's amount
        self.at_ms = at_ms
        self.level = level
        self._loose = level  # on top of all: nobody gives it back any more, so it leaks first
        self._top: Layer | None = None
        # Holds nothing; no request that stands here can give anything back.
        self._bottom = Layer(0, 0, None)

    def flow(self, now_ms: int) -> int:
        """Leaks up to now; returns the level.

        An earlier time leaks nothing, and takes nothing back.
        """
        elapsed_ms = now_ms - self.at_ms
        if elapsed_ms <= 0:
            return self.level
        self.at_ms = now_ms
        leaking = elapsed_ms * self.leak
        if leaking >= self.level:
            self.level = self._loose = 0
            if self._top is not None:
                self._empty(self._top)
            return 0
        self.level -= leaking
        self._sink_by(leaking)
        return self.level

    def _sink_by(self, leaking: int) -> None:
        """So much has leaked, of the newest first."""
        if leaking <= self._loose:
            self._loose -= leaking
            return
        leaking -= self._loose
        self._loose = 0
        while (top := self._top) is not None and leaking >= top.amount:
            leaking -= top.amount
            self._sink(top)
        if top is not None:
            top.amount -= leaking

    def change_leak(self, leak: int, now_ms: int) -> None:
        """From now on the limit has another amount."""
        self.flow(now_ms)
        self.leak = leak

    def take(self, amount: int) -> Layer:
        """Adds what a request is expected to use, at the time it has flowed to.

        `settle` takes the layer back.
        """
        self.level += amount
        top = self._top
        self._top = layer = Layer(amount, amount, top)
        if top is not None:
            top.above = layer
        return layer

    def spend(self, amount: int) -> None:
        """Adds what was used and is never given back."""
        self.level += amount
        self._loose += amount

    def settle(self, layer: Layer, unused: int) -> None:
        """Ends a request that did not use `unused`. Once for each layer.

        Of more than it took here, no more than that comes back.
        """
        home = layer.into
        if home is self._bottom:
            return  # it has leaked away, so nothing can be given back
        if unused > layer.taken:
            unused = layer.taken
        if layer is self._top and layer.holders == 1 and unused < layer.amount:
            # The newest: as below, in a few steps.
            self.level -= unused
            self._loose += layer.amount - unused
            self._top = below = layer.below
            if below is not None:
                below.above = None
            return
        home = layer if home is None else self._find(layer)
        if unused < home.amount or unused == 0:  # nearly always
            home.amount -= unused
            self.level -= unused
        else:
            self._give_back(home, unused)
            home = self._find(home)
        home.holders -= 1
        if home.holders == 0 and home is not self._bottom:
            self._lift(home)

    def wait_ms(self, amount: int, room: int) -> int | None:
        """How long until `amount` more leaves the level at or below `room`; None: it never will.

        If nothing else is taken.
        """
        excess = self.level + amount - room
        if excess <= 0:
            return 0
        if amount > room or self.leak == 0:
            return None
        return -(-excess // self.leak)

    def _empty(self, top: Layer) -> None:
        """All has leaked away: requests that stood anywhere in here stand on nothing."""
        layer: Layer | None = top
        self._top = None
        while layer is not None:
            below = layer.below
            layer.into = self._bottom
            layer.above = layer.below = None
            layer = below

    def _give_back(self, home: Layer, unused: int) -> None:
        """Gives back from this layer downwards, as far as there is something."""
        place: Layer | None = home
        while unused and place is not None:
            if place.amount > unused:
                place.amount -= unused
                self.level -= unused
                return
            unused -= place.amount
            self.level -= place.amount
            below = place.below
            if place is not self._bottom:
                self._sink(place)
            place = below

    def _sink(self, layer: Layer) -> None:
        """Removes a layer without an amount; its holders stand on the one below."""
        above, below = layer.above, layer.below
        if below is not None:
            below.above = above
        if above is None:
            self._top = below
        else:
            above.below = below
        layer.above = layer.below = None
        layer.amount = 0
        layer.into = self._bottom if below is None else below
        layer.into.holders += layer.holders

    def _lift(self, layer: Layer) -> None:
        """Removes a layer on which no request stands; its amount counts to the layer above.

        Nobody between the two can give it back.
        """
        above, below = layer.above, layer.below
        if below is not None:
            below.above = above
        if above is None:
            self._top = below
            self._loose += layer.amount
        else:
            above.below = below
            above.amount += layer.amount

    def _find(self, layer: Layer) -> Layer:
        """The layer on which the holders of this one stand now. The next call has a shorter way."""
        home = layer
        while home.into is not None:
            home = home.into
        while layer.into is not None:
            layer.into, layer = home, layer.into
        return home
