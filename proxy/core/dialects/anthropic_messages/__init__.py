"""The dialect of Anthropic's Messages API, as Anthropic and its followers speak it.

`dialect.py` is its face to the data path. `call.py` reads a request, `meter.py` an answer as it
flows by; `events.py` knows the shapes of events and blocks, `stated.py` those of usage.
"""
