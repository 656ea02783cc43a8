"""Real PostgreSQL servers, one loopback address a cluster."""
