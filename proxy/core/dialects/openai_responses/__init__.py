"""The dialect of OpenAI's Responses, as OpenAI and those that follow it speak it.

`call.py` reads a request, `meter.py` an answer as it flows by. `events.py` and `items.py` know
where each text stands, and `delivered.py` counts it once.
"""
