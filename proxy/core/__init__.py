"""The pure core: no I/O, no clock, no await, no logging.

It counts in integers what is booked or limited.
"""
