"""Counts what no vendor states, and learns from what vendors do state."""
