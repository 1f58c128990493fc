"""Every Prometheus metric: its definition, its count, the page and its listener."""
