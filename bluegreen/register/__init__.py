"""The tool's own database on each environment: switches, and who is closed."""
