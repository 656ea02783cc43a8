"""What pg_upgrade refuses, for each database: the queries of its own `check.c`, 14 to 18.

A type is refused wherever it is stored: as a column, and inside domains, arrays, composite types
and ranges of any depth.
"""

from __future__ import annotations

# Objects' numbers change in an upgrade, except those of regclass, regrole and regtype. Types of
# the catalogs themselves (FirstNormalObjectId is 16384) may change their columns. aclitem got
# another size in 16.
UNSTORABLE = """
WITH RECURSIVE refused (oid) AS (
    SELECT t.oid FROM pg_catalog.pg_type t
      JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
     WHERE (n.nspname = 'pg_catalog'
            AND (t.typname IN ('regcollation', 'regconfig', 'regdictionary', 'regnamespace',
                               'regoper', 'regoperator', 'regproc', 'regprocedure')
                 OR t.typname = 'aclitem'
                    AND pg_catalog.current_setting('server_version_num')::int < 160000))
        OR (t.typtype = 'c' AND (t.oid < 16384 OR n.nspname = 'information_schema'))
    UNION
    SELECT found.oid FROM (
        WITH inner_types AS (SELECT oid FROM refused)
        SELECT t.oid FROM pg_catalog.pg_type t JOIN inner_types x ON t.typbasetype = x.oid
         WHERE t.typtype = 'd'
        UNION ALL
        SELECT t.oid FROM pg_catalog.pg_type t JOIN inner_types x ON t.typelem = x.oid
         WHERE t.typtype = 'b'
        UNION ALL
        SELECT t.oid
          FROM pg_catalog.pg_type t
          JOIN pg_catalog.pg_class c ON c.reltype = t.oid
          JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
          JOIN inner_types x ON a.atttypid = x.oid
         WHERE t.typtype = 'c'
        UNION ALL
        SELECT r.rngtypid FROM pg_catalog.pg_range r JOIN inner_types x ON r.rngsubtype = x.oid
    ) found
)
SELECT pg_catalog.format('%I.%I.%I (%s)', n.nspname, c.relname, a.attname,
                         pg_catalog.format_type(a.atttypid, NULL))
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
 WHERE a.atttypid IN (SELECT oid FROM refused)
   AND c.relkind IN ('r', 'm', 'i')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY 1
"""

# Refused by an upgrade to 18, which keeps NOT NULL as a constraint that children inherit.
LOOSER_CHILDREN = """
SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, child.attname)
  FROM pg_catalog.pg_inherits i
  JOIN pg_catalog.pg_attribute child ON child.attrelid = i.inhrelid
  JOIN pg_catalog.pg_attribute parent
       ON parent.attrelid = i.inhparent AND parent.attname = child.attname
  JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE parent.attnum > 0 AND parent.attnotnull AND NOT child.attnotnull
   AND NOT child.attisdropped
 ORDER BY 1
"""

# template0 is never dumped, so nothing may have been put into it.
OPEN_TEMPLATE0 = """
SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn AND datname = 'template0'
"""

# Every database but template0 is dumped and restored, so each has to let the upgrade in.
UNCONNECTABLE = """
SELECT datname::text FROM pg_catalog.pg_database
 WHERE NOT datallowconn AND datname NOT IN ('template0', 'rdsadmin') ORDER BY 1
"""

EVERY_DATABASE = """
SELECT datname::text AS name, pg_catalog.has_database_privilege(oid, 'CONNECT') AS may_connect
  FROM pg_catalog.pg_database
 WHERE datallowconn AND datconnlimit <> -2 AND datname <> 'rdsadmin' ORDER BY 1
"""

ABSENT = """
SELECT name FROM pg_catalog.unnest(%s::text[]) name
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname = name) ORDER BY 1
"""
