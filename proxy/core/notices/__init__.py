"""What operators are told by webhook and mail: the events, their texts, and each receiver's form.

- `notice.py`: one notice, whatever it is about
- `limits.py`, `health.py`: the notices of limits, and of all else
- `payloads.py`: bodies for Slack, Teams and programs
- `letters.py`: the same as a mail
- `signature.py`: the signature of Standard Webhooks
"""
