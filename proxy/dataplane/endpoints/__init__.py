"""The paths that are no call of a wire.

The data plane answers some itself: the model list, a key's own limits and use. Others are relayed:
answers that a vendor keeps, and paths that are passed through.
"""
