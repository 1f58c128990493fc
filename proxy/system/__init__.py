"""What several rooms need of the system beneath: durable file names, and backends by URL."""
