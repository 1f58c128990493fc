"""Keys and teams of other gateways, as their exports have them, in this proxy's words.

All of it is pure. What has no counterpart here is told in the notes of its row. Nothing gets
looser: a budget over a time that no limit has becomes one over the next longer time, and a key with
a restriction that cannot be said here is taken over suspended.
"""
