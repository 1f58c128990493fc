"""The book in other people's formats.

A format turns rows into bytes and does nothing else: the caller reads the rows and takes the bytes.
"""
