"""A month's statement: what each team owes, and all that a reader may ask about it.

`statement.py` reads it from the ledger; `document.py` writes it for people.
"""
