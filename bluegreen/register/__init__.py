"""The tool's own database on each environment: its switches, and what is closed."""
