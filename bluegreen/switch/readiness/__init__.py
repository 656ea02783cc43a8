"""May the writer be moved now? What is found out before a switch."""
