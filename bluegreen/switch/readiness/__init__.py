"""May the writer be moved now? The checks before a switch."""
