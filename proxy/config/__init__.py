"""config.yaml, read strictly: settings, and the limits and price terms that they say."""
