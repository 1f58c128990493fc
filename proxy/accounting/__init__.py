"""Jobs over the books: journal to ledger, pricing anew, end users' salts, exports."""
