"""Telling operators: receivers of notices, each with its queue, by webhook and mail.

- `receivers.py`: who is told, of a config
- `posting.py`, `mailing.py`: one attempt to send one message, which ends as an `Attempt`
- `sending.py`: the same for any receiver
- `lane.py`: one receiver's messages, in order, tried again
- `notifier.py`: what is told to whom, once

A notice is stored in the ledger's database before it is sent, and marked there afterwards. What a
crash interrupts goes out again under the same id: at least once, and seldom twice.
"""
