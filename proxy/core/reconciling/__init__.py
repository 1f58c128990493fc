"""The ledger held against a vendor's bill: reading its lines, comparing, naming the cause. Pure."""
