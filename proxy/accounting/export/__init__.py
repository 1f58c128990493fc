"""The book in other people's formats. A format turns rows into bytes and nothing else: what is
read, and where it goes, is the caller's."""
