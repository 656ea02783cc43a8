"""AWS's own roles, by their exact names: an application's may begin with `rds` too."""

from __future__ import annotations

LOGINS = ("rdsadmin", "rdsproxyadmin", "rdsrepladmin", "rdstopmgr", "rdswriteforwarduser")
"""Those that AWS's processes log in as. They are nobody's to alter, and nobody has their passwords.

What else AWS makes (`rds_superuser`, `rds_replication`, `rds_iam`, `rds_password`, `rds_ad`,
`rds_extension`, `rds_reserved`) are groups without LOGIN, and none of a fence's concern.
"""
