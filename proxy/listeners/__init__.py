"""Listening for HTTP: addresses, and what the metrics and admin listeners share."""
