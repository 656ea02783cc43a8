"""One PostgreSQL server: connections, what it is asked, what its version can do."""
