"""Limits: the rules by which a request is let through or refused.

Pure: times, zones and counts are passed in, and every amount is an integer.

- `language.py` reads a rule's text, `limit.py` makes it a limit of somebody
- `windows.py` says when its days, weeks and months begin, `gcra.py` how its rates flow
- `decisions.py` says what a request takes of it and whether it may, `refusals.py` what a client is
  told if it may not

A limit is the rule; the running count behind it is a quota (`proxy/quota/`).
"""
