"""Paths that are passed through: requests unread, answers read for what they state and make."""
