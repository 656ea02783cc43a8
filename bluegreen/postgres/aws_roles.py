"""AWS's own roles, by their exact names: an application's role may begin with `rds` too."""

from __future__ import annotations

LOGINS = ("rdsadmin", "rdsproxyadmin", "rdsrepladmin", "rdstopmgr", "rdswriteforwarduser")
"""Those that AWS's processes log in as. Nobody may alter them, and nobody has their passwords.

The others that AWS makes (`rds_superuser`, `rds_replication`, `rds_iam`, `rds_password`, `rds_ad`,
`rds_extension`, `rds_reserved`) are groups without LOGIN, so no fence concerns them.
"""
