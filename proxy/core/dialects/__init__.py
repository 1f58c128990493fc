"""Dialects: how an API is asked, and how it says what it used.

Each is a package of its own; `registry.py` knows which is spoken at a path.
"""
