"""Sealed months as files: written, read back, and then taken out of the book."""
