"""Prices: which row applies, and what tokens come to. Integers throughout."""
