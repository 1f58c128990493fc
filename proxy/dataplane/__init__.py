"""One request from its first byte to its record. `exchange.py` has the order."""
