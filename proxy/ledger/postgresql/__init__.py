"""The ledger in a PostgreSQL database: `postgresql://USER:PASSWORD@HOST/DATABASE`.

Several processes book into it at once, each in a chain of its own.
"""
