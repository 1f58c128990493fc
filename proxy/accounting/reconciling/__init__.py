"""Holds the ledger against a vendor's bill: opening its file, reading both sides, comparing."""
