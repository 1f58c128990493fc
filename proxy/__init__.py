"""Tollkeeper: a usage-metering reverse proxy for OpenAI-compatible APIs.

The flow of one request, in the order of the files to read:

    dataplane/listener.py    clients' connections: reads requests (request_loop.py), writes answers
                             (connection.py)
    dataplane/gateway.py     authenticates (tenants/ring.py), has the request admitted, starts an
                             Exchange
    dataplane/admission.py   reads the body (core/dialects), finds the upstream (snapshot.py), asks
                             all that may refuse the request but its limits
    dataplane/exchange.py    the life of one request; the only place that knows the order
    dataplane/hold.py        its limits: reserved before all else, then settled or given back
    dataplane/upstream/      a connection in hand: without one nothing is journaled or charged
    journal/                 open, before the first byte goes out; marks, before what they cover
                             is passed on; close, before the answer ends
    dataplane/relay.py       one upstream attempt, from "sent" to "over": all of it callbacks
    dataplane/progress.py    what was passed on so far; the meter in core/dialects reads a copy
    dataplane/response.py    the answer to the client, whose last chunk waits for the record
    core/records/settlement.py   what was used becomes the record: what is charged when
    accounting/recorder.py   journal -> ledger/, in batches, behind everything else
    admin/                   who may ask about it and change it, apart from the traffic

Words: exchange (one admitted request and its upstream attempt), mark, record (a ledger entry),
event (only an SSE event), upstream (a configured vendor), route (model -> upstream), dialect (an
API's shapes), tenant (who a key stands for), meter (reads the copy).

Usual requests and answers take short ways to the same result (known_caller.py, flow.py and others):
docs/architecture.md lists them, and has the rooms and the reasons. `server/` puts the parts
together. `core/` is pure. Imports go down only.
"""

__version__ = "0.1.0"
