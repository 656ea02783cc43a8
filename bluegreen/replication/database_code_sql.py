"""Queries over the code of a database: what an apply worker or a session of the tool would run.

`{written}` stands for WRITTEN. Every column and catalog is there from 14 on. Tables are found in
the catalogs, since to_regclass() fails where a role lacks USAGE on the schema, as AWS's master user
does on an application's own.
"""

from __future__ import annotations

PLANNED = """
WITH RECURSIVE named (id, columns) AS (
    SELECT c.oid, t.columns
      FROM pg_catalog.jsonb_to_recordset(%(tables)s::jsonb)
           AS t(schema text, name text, columns jsonb)
      JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
    UNION
    SELECT i.inhrelid, x.columns FROM pg_catalog.pg_inherits i JOIN named x ON x.id = i.inhparent
)
SELECT n.nspname::text, c.relname::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND (x.columns IS NULL OR jsonb_typeof(x.columns) = 'null'
                     OR x.columns ? a.attname::text))
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN named x ON x.id = c.oid
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', %(own)s) AND n.nspname !~ '^pg_'
   AND (%(all)s OR n.nspname = ANY (%(schemas)s) OR x.id IS NOT NULL)
"""
# Where rows of the sent tables are written: there, and in the partitions they are routed to.
WRITTEN = """
WITH RECURSIVE sent (id, columns) AS (
    SELECT c.oid, t.columns
      FROM pg_catalog.jsonb_to_recordset(%(sent)s::jsonb)
           AS t(schema text, name text, columns jsonb)
      JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
), written (id, columns) AS (
    SELECT id, columns FROM sent
    UNION
    SELECT i.inhrelid, x.columns
      FROM pg_catalog.pg_inherits i JOIN written x ON x.id = i.inhparent
      JOIN pg_catalog.pg_class c ON c.oid = i.inhparent AND c.relkind = 'p'
)
"""

# The server's own triggers, which check foreign keys, are enabled for origin only, unless somebody
# said ENABLE ALWAYS TRIGGER ALL. A partition has its root's triggers under the same name.
FIRING = """{written}
SELECT DISTINCT pg_catalog.format('%%I on %%I.%%I (%%s)', t.tgname, n.nspname, c.relname,
                                  CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END)
  FROM written w
  JOIN pg_catalog.pg_trigger t ON t.tgrelid = w.id AND t.tgenabled IN ('A', 'R')
  JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_trigger root
         ON root.oid = t.tgparentid AND root.tgenabled = t.tgenabled
        AND root.tgrelid IN (SELECT id FROM written)
 WHERE root.oid IS NULL
 ORDER BY 1
"""

# An identity column has no default in the catalogs, but calls nextval too.
FILLED = """{written}
SELECT DISTINCT pg_catalog.format('%%I.%%I.%%I', n.nspname, c.relname, a.attname) AS column,
       coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), 'nextval()') AS text,
       coalesce(ARRAY(SELECT f.prosrc FROM pg_catalog.pg_depend p
                        JOIN pg_catalog.pg_proc f ON f.oid = p.refobjid
                       WHERE p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid
                         AND p.refclassid = 'pg_catalog.pg_proc'::regclass),
                ARRAY[]::text[]) AS bodies
  FROM written w
  JOIN pg_catalog.pg_class c ON c.oid = w.id AND c.relkind = 'r'
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attgenerated = '' AND NOT w.columns ? a.attname::text
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE d.oid IS NOT NULL OR a.attidentity <> ''
 ORDER BY 1
"""

# Extensions' event triggers, mostly in C, don't log into tables. Nobody may disable AWS's.
EVENTS = """
SELECT pg_catalog.format('%I on %s', e.evtname, e.evtevent) AS name, l.lanname::text AS language,
       f.prosrc AS body
  FROM pg_catalog.pg_event_trigger e
  JOIN pg_catalog.pg_proc f ON f.oid = e.evtfoid
  JOIN pg_catalog.pg_language l ON l.oid = f.prolang
 WHERE e.evtenabled IN ('O', 'A')
   AND pg_catalog.pg_get_userbyid(e.evtowner) <> 'rdsadmin'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_event_trigger'::regclass AND d.objid = e.oid
          AND d.deptype = 'e')
 ORDER BY 1
"""

# A body that was parsed when it was made (BEGIN ATOMIC) has its names resolved; 14 knows it.
FUNCTIONS = """
SELECT f.oid::bigint AS oid, f.oid::regprocedure::text AS signature, n.nspname::text AS schema,
       f.proname::text AS name, l.lanname::text AS language, f.prosrc AS body,
       f.prosqlbody IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.unnest(f.proconfig) o
                                            WHERE o LIKE 'search_path=%') AS resolved,
       f.provolatile = 'v' AS volatile
  FROM pg_catalog.pg_proc f
  JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = f.prolang
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
RELATIONS = """
SELECT DISTINCT c.relname::text FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'p', 'v', 'm')
"""
SERVERS_FUNCTIONS = """
SELECT DISTINCT proname::text FROM pg_catalog.pg_proc
 WHERE pronamespace = 'pg_catalog'::regnamespace
"""

# Every expression that is evaluated when a row is written, by the function that it calls. A domain
# concerns each column of its type, in any table.
EXPRESSIONS = """{written}
, given AS (
    SELECT d.oid, d.adrelid, d.adnum, pg_catalog.format('column %%I', a.attname) AS what,
           pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS text
      FROM pg_catalog.pg_attrdef d
      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
      JOIN written w ON w.id = d.adrelid
     WHERE a.attgenerated <> '' OR NOT w.columns ? a.attname::text
), expressions AS (
    SELECT 'pg_catalog.pg_class'::regclass AS kind, i.indexrelid AS id, NULL::int2 AS part,
           i.indrelid AS relation,
           pg_catalog.format('index %%s', i.indexrelid::regclass) AS what,
           pg_catalog.concat_ws(', ', pg_catalog.pg_get_expr(i.indexprs, i.indrelid),
                                pg_catalog.pg_get_expr(i.indpred, i.indrelid)) AS text
      FROM pg_catalog.pg_index i
     WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass, p.partrelid, NULL, p.partrelid, 'partition key',
           pg_catalog.pg_get_expr(p.partexprs, p.partrelid)
      FROM pg_catalog.pg_partitioned_table p WHERE p.partexprs IS NOT NULL
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid, NULL, k.conrelid,
           pg_catalog.format('constraint %%I', k.conname),
           pg_catalog.pg_get_expr(k.conbin, k.conrelid)
      FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND k.conrelid <> 0
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass, k.oid, NULL, a.attrelid,
           pg_catalog.format('domain %%s', k.contypid::regtype), NULL
      FROM pg_catalog.pg_constraint k
      JOIN pg_catalog.pg_attribute a ON a.atttypid = k.contypid AND NOT a.attisdropped
     WHERE k.contype = 'c' AND k.contypid <> 0
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::regclass, v.oid, NULL, v.adrelid, v.what, v.text FROM given v
    UNION ALL
    -- Up to 14 what a generated column calls is noted of the column itself.
    SELECT 'pg_catalog.pg_class'::regclass, v.adrelid, v.adnum, v.adrelid, v.what, v.text
      FROM given v
)
SELECT n.nspname::text AS schema, c.relname::text AS table, e.what, e.text,
       pg_catalog.array_agg(DISTINCT d.refobjid::bigint) AS functions
  FROM expressions e
  JOIN pg_catalog.pg_class c ON c.oid = e.relation AND c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_depend d ON d.classid = e.kind AND d.objid = e.id
       AND (e.part IS NULL OR d.objsubid = e.part) AND d.refclassid = 'pg_catalog.pg_proc'::regclass
 WHERE c.oid IN (SELECT id FROM written)
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3
"""

# Jobs of pg_cron are text; without the extension there is no such table.
MAKERS = """
SELECT f.oid::regprocedure::text AS name, f.prosrc AS body
  FROM pg_catalog.pg_proc f
  JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = f.prolang AND l.lanname IN ('sql', 'plpgsql')
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND f.prorettype NOT IN ('pg_catalog.event_trigger'::regtype, 'pg_catalog.trigger'::regtype)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e')
 ORDER BY 1
"""

# Its launcher on either side writes this table, with the same numbers, whatever the fence says.
CRON_LOG = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'cron' AND c.relname = 'job_run_details')
   AND pg_catalog.current_setting('cron.log_run', true) = 'on'
"""
