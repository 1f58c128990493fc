"""The pure core: no I/O, no clock, no await, no logging; integers in all that is booked or
limited."""
