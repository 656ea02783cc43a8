"""One PostgreSQL server: connections, queries, and what its version can do."""
