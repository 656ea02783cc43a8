"""Keepers: roles that keep LOGIN where applications lose it, and may write a database.

A role may write by what it owns, is granted, or may become by `SET ROLE`: through tables and
sequences, through views that pass a write on, and through functions that run as somebody who may.
Grants are unfolded once for all roles: 10,000 tables and 1,000 roles take 1.2 s, where asking for
each pair by `has_table_privilege` takes 55 s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bluegreen.postgres import aws_roles
from bluegreen.postgres.queries import Connection, column

# `able`: which roles a role may act as, itself included; 0 is PUBLIC. Any membership counts: with
# ADMIN only it may grant itself the rest.
_KEEPERS = """\
WITH RECURSIVE edge AS MATERIALIZED (
    SELECT member, roleid FROM pg_auth_members
     UNION
    SELECT datdba, 'pg_database_owner'::regrole::oid FROM pg_database
     WHERE datname = current_database()),
able (role, via) AS (
    SELECT oid, oid FROM pg_roles
     UNION
    SELECT able.role, edge.roleid FROM able JOIN edge ON edge.member = able.via),
space AS MATERIALIZED (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
     WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'bluegreen')),
enters AS MATERIALIZED (
    SELECT a.role, s.oid AS space FROM space s JOIN able a ON a.via = s.nspowner
     UNION
    SELECT a.role, s.oid
      FROM space s, aclexplode(s.nspacl) x JOIN able a ON a.via = x.grantee
     WHERE x.privilege_type = 'USAGE'
     UNION
    SELECT r.oid, s.oid FROM pg_roles r, space s, aclexplode(s.nspacl) x
     WHERE x.privilege_type = 'USAGE' AND x.grantee = 0),
relation AS MATERIALIZED (
    SELECT c.oid, c.relnamespace AS space, c.relowner AS owner, c.relkind AS kind, c.relacl AS acl,
           format('%%I.%%I', s.nspname, c.relname) AS name
      FROM pg_class c JOIN space s ON s.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'f', 'S', 'v') AND c.relpersistence <> 't'),
granted AS MATERIALIZED (
    SELECT r.owner AS grantee, r.space, r.kind, r.oid, r.name FROM relation r
     UNION ALL
    SELECT x.grantee, r.space, r.kind, r.oid, r.name FROM relation r, aclexplode(r.acl) x
     WHERE x.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
        OR x.privilege_type = 'USAGE' AND r.kind = 'S'
     UNION ALL
    SELECT x.grantee, r.space, r.kind, r.oid, r.name
      FROM relation r JOIN pg_attribute t ON t.attrelid = r.oid AND t.attacl IS NOT NULL,
           aclexplode(t.attacl) x
     WHERE x.privilege_type IN ('INSERT', 'UPDATE')),
direct AS MATERIALIZED (
    SELECT grantee, space, coalesce(min(name) FILTER (WHERE kind <> 'S'), min(name)) AS name
      FROM granted WHERE kind <> 'v' GROUP BY grantee, space),
mighty AS MATERIALIZED (
    SELECT oid, CASE WHEN rolsuper THEN 'superuser' ELSE rolname END AS name FROM pg_roles
     WHERE rolsuper OR rolname = 'pg_write_all_data'
     UNION ALL
    SELECT oid, 'CREATEROLE' FROM pg_roles
     WHERE rolcreaterole AND current_setting('server_version_num')::int < 160000),
writer AS MATERIALIZED (
    SELECT a.role, d.name, 'granted' AS how FROM able a JOIN direct d ON d.grantee = a.via
      JOIN enters e ON e.role = a.role AND e.space = d.space
     UNION ALL
    SELECT e.role, d.name, 'public'
      FROM enters e JOIN direct d ON d.grantee = 0 AND d.space = e.space
     UNION ALL
    SELECT a.role, m.name, 'mighty' FROM able a JOIN mighty m ON m.oid = a.via),
indirect AS MATERIALIZED (
    SELECT g.grantee, g.space, g.name
      FROM granted g JOIN pg_class c ON c.oid = g.oid
     WHERE g.kind = 'v' AND pg_relation_is_updatable(g.oid, true) & 28 <> 0
       AND (EXISTS (SELECT FROM writer w WHERE w.role = c.relowner) OR EXISTS (
            SELECT FROM pg_trigger t WHERE t.tgrelid = g.oid AND t.tgtype & 64 <> 0))
     UNION ALL
    SELECT x.grantee, s.oid, format('%%I.%%I()', s.nspname, p.proname)
      FROM pg_proc p JOIN space s ON s.oid = p.pronamespace,
           aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
     WHERE p.prosecdef AND x.privilege_type = 'EXECUTE'
       AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
       AND EXISTS (SELECT FROM writer w WHERE w.role = p.proowner)
       AND NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')),
way AS (
    SELECT * FROM writer
     UNION ALL
    SELECT a.role, i.name, 'granted' FROM able a JOIN indirect i ON i.grantee = a.via
      JOIN enters e ON e.role = a.role AND e.space = i.space
     UNION ALL
    SELECT e.role, i.name, 'public'
      FROM enters e JOIN indirect i ON i.grantee = 0 AND i.space = e.space)
SELECT format('%%I (%%s)', r.rolname, min(w.name))
  FROM pg_roles r JOIN way w ON w.role = r.oid
 WHERE r.rolcanlogin AND r.rolname <> 'rdsadmin' AND r.rolname <> ALL (%s)
   AND NOT (w.how = 'public' AND r.rolname = ANY (%s))
   AND NOT (w.how <> 'granted' AND r.rolname = ANY (%s))
   AND has_database_privilege(r.oid, current_database(), 'CONNECT')
 GROUP BY r.rolname
 ORDER BY r.rolname"""


def find(conn: Connection, fenced: Collection[str], *, own: Sequence[str]) -> list[str]:
    """Return the keepers in the database of `conn`, each with what it may write.

    `fenced` are those that lose LOGIN, and the administrator, who is no question. What PUBLIC may
    do counts neither for `own` (the tool's) nor for AWS's roles. Of the latter only what was
    granted to them counts: nobody can revoke the rest.
    """
    return column(conn, _KEEPERS, list(fenced), list(own), list(aws_roles.LOGINS))
