"""Who may call: the text of keys, and the ring that finds a key's tenant."""
