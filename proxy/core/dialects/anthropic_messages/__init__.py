"""The dialect of Anthropic's Messages API, as Anthropic and the servers and relays that follow it
speak it.

`dialect.py` is its face to the data path. `call.py` reads a request, `meter.py` an answer as it
flows by; `events.py` knows the shapes of events and blocks, `stated.py` those of usage.
"""
