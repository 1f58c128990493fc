"""What the data plane answers itself: the model list, a key's own limits and use."""
