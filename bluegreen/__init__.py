"""Blue/green deployments of Aurora PostgreSQL: every SQL statement and every AWS call lives here.

Knows nothing of Pulumi: functions take connections and frozen dataclasses, and return the same.
"""

__version__ = "0.1.0"
