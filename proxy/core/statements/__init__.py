"""Closed months: which statement counts which record, what it sums up, and how it is kept."""
