"""Vendors: their connections, kept and bounded, and the heads that go to them."""
