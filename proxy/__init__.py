"""Tollkeeper: a usage-metering reverse proxy for OpenAI-compatible APIs.

The flow of one request, in the order of the files to read:

    listener.py    a client's connection: parses requests, writes answers
    gateway.py     authenticates (keys.py), reads the body (core/dialects), finds the upstream (site.py), starts an Exchange
    exchange.py    the life of one request; the only place that knows the order of its steps
    relay.py       one upstream attempt, from "sent" to "over": all of it callbacks
    pool.py        a connection in hand: without one nothing is journaled and nothing is charged
    journal/       open, before the first byte goes out; marks, before what they cover is passed on; close, before the answer ends
    progress.py    what was passed on so far; the meter in core/dialects reads a copy
    core/settlement.py   what was used becomes the record: every decision about what to charge
    recorder.py    journal -> ledger/, in batches, behind everything else
    admin/         who may ask about it and change it, apart from the traffic; rerating.py prices what is booked anew

Words: exchange (one admitted request and its upstream attempt) · mark · record (a ledger entry) · event (only an SSE event) · upstream (a configured
vendor) · route (model -> upstream) · dialect (an API's shapes) · tenant (who a key stands for) · meter (reads the copy).
`server.py` puts the parts together; `core/` is pure; imports go down only (tests/project/test_architecture.py).
"""

__version__ = "0.1.0"
