"""Real counterparts for tests: raw upstreams, a running proxy, raw clients."""
