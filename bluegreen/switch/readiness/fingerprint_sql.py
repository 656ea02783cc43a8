"""The queries of a fingerprint: one for a cluster as a whole, one for each database.

Every row is a fact: its kind, its name, what it is part of, the role that it is about, and its
definition. Parts name their whole as `kind name`, since the parts of a missing whole are not
reported too. Names are quoted as SQL needs them. Written for 14 to 18: a column that not all have
is read through `to_jsonb`. Left out are the system's own, the tool's own, and what an extension
brings along, since that follows from the extension's version; except its tables, whose rows
replicate.
"""

from __future__ import annotations

# AWS makes and alters these by itself. An application's role may begin with rds, too.
_AWS = "'^(pg_|rds_|rds(admin|topmgr|repladmin|writeforwarduser|proxyadmin)$)'"
_GRANTEE = "CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END"
_PRIVILEGES = """\
string_agg(DISTINCT a.privilege_type
           || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ')"""


def _filled(query: str) -> str:
    """Return a query with the expressions that several of its parts share filled in."""
    parts = {"{aws}": _AWS, "{grantee}": _GRANTEE, "{privileges}": _PRIVILEGES}
    for place, part in parts.items():
        query = query.replace(place, part)
    return query


CLUSTER = _filled("""
WITH role AS MATERIALIZED (
    SELECT r.*, quote_ident(r.rolname) AS name FROM pg_roles r WHERE r.rolname !~ {aws}),
base AS MATERIALIZED (
    SELECT d.*, quote_ident(d.datname) AS name, to_jsonb(d) AS raw FROM pg_database d
     WHERE d.datname NOT IN ('bluegreen', 'rdsadmin', 'template0', 'template1'))
SELECT 'role', name, '', '', '' FROM role
UNION ALL
SELECT 'login', name, 'role ' || name, '', '' FROM role
 WHERE rolcanlogin OR rolname = ANY (%(closed)s::text[])
UNION ALL
SELECT 'closed', name, 'role ' || name, '', '' FROM role WHERE rolname = ANY (%(closed)s::text[])
UNION ALL
SELECT 'role attributes', name, 'role ' || name, '',
       concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
           CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
           CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
           CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
           CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
           CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
           'VALID UNTIL ' || quote_literal(coalesce(rolvaliduntil, 'infinity')))
  FROM role
UNION ALL
SELECT 'connection limit', name, 'role ' || name, '', 'CONNECTION LIMIT ' || rolconnlimit
  FROM role WHERE rolconnlimit <> -1
UNION ALL
SELECT 'membership', format('%%I in %%I', m.rolname, g.rolname), 'role ' || m.name,
       'role ' || quote_ident(g.rolname),
       CASE WHEN bool_or(a.admin_option) THEN 'WITH ADMIN OPTION' ELSE '' END
  FROM pg_auth_members a JOIN role m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
 -- From 16 on whoever makes a role is given this, by the superuser of the bootstrap: no difference
 -- to a role that was there before an upgrade.
 WHERE NOT (a.grantor = 10 AND a.admin_option AND to_jsonb(a) @>
            '{"inherit_option": false, "set_option": false}')
 GROUP BY 2, 3, 4
UNION ALL
SELECT 'setting', concat_ws(' ', split_part(o, '=', 1), 'of', 'role ' || r.name,
                            CASE WHEN r.oid IS NOT NULL AND b.oid IS NOT NULL THEN 'in' END,
                            'database ' || b.name),
       coalesce('database ' || b.name, ''), coalesce('role ' || r.name, ''),
       substr(o, strpos(o, '=') + 1)
  FROM pg_db_role_setting s
  CROSS JOIN LATERAL unnest(s.setconfig) o
  LEFT JOIN role r ON r.oid = s.setrole
  LEFT JOIN base b ON b.oid = s.setdatabase
 WHERE (s.setrole = 0 OR r.oid IS NOT NULL) AND (s.setdatabase = 0 OR b.oid IS NOT NULL)
   AND (s.setrole, s.setdatabase) <> (0, 0)
   -- How the tool closes a side.
   AND NOT (s.setrole = 0 AND o LIKE 'default_transaction_read_only=%%')
UNION ALL
SELECT 'database', name, '', '',
       concat_ws(' ', 'ENCODING ' || quote_literal(pg_encoding_to_char(encoding)),
           'LC_COLLATE ' || quote_literal(datcollate), 'LC_CTYPE ' || quote_literal(datctype),
           -- 14 has no providers but libc; 17 renamed the locale, and has one more provider
           'LOCALE_PROVIDER ' || CASE coalesce(raw ->> 'datlocprovider', 'c')
               WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END,
           'LOCALE ' || quote_literal(coalesce(raw ->> 'datlocale', raw ->> 'daticulocale')))
  FROM base
UNION ALL
SELECT 'database attributes', name, 'database ' || name, '',
       format('ALLOW_CONNECTIONS %%s IS_TEMPLATE %%s CONNECTION LIMIT %%s',
              datallowconn, datistemplate, datconnlimit)
  FROM base
UNION ALL
SELECT 'owner', 'DATABASE ' || name, 'database ' || name, '',
       quote_ident(pg_get_userbyid(datdba)) FROM base
UNION ALL
SELECT 'privilege', {grantee} || ' on DATABASE ' || b.name, 'database ' || b.name,
       'role ' || {grantee}, {privileges}
  FROM base b
  CROSS JOIN LATERAL aclexplode(coalesce(b.datacl, acldefault('d', b.datdba))) a
 WHERE a.grantee <> b.datdba AND NOT EXISTS (
       SELECT FROM pg_roles r WHERE r.oid = a.grantee AND r.rolname ~ {aws})
 GROUP BY 2, 3, 4
UNION ALL
SELECT 'slot', quote_ident(slot_name) || coalesce(' in ' || quote_ident(database), ''), '', '',
       coalesce(plugin, 'physical')
  FROM pg_replication_slots WHERE slot_name !~ '^bg_.+_(forward|reverse)_' AND NOT temporary""")
"""Roles, memberships, settings, databases, and others' slots. Parameter: `closed`."""

CLOSED = """\
SELECT name FROM bluegreen.closure WHERE kind = 'role'"""
"""Roles that the tool has taken LOGIN from, and will give it back to."""

DATABASE = _filled("""
WITH ns AS MATERIALIZED (
    SELECT n.oid, quote_ident(n.nspname) AS name, n.nspowner, n.nspacl,
           EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
                      AND d.objid = n.oid AND d.deptype = 'e') AS brought
      FROM pg_namespace n
     WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'bluegreen')),
brought AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
rel AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relpersistence, c.relispartition, c.relreplident, c.relrowsecurity,
           c.relforcerowsecurity, c.relacl, c.relowner, c.reloptions, c.relpartbound,
           ns.name || '.' || quote_ident(c.relname) AS name, 'schema ' || ns.name AS whole,
           b.objid IS NOT NULL AS brought,
           CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN
                'FOREIGN TABLE' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END AS word
      FROM pg_class c JOIN ns ON ns.oid = c.relnamespace
      LEFT JOIN brought b ON b.classid = 'pg_class'::regclass AND b.objid = c.oid
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
       AND (b.objid IS NULL OR c.relkind IN ('r', 'p'))),
own AS MATERIALIZED (SELECT * FROM rel WHERE NOT brought),
col AS MATERIALIZED (
    SELECT a.attrelid, a.attnum, a.attnotnull, a.attidentity, a.attgenerated, a.attacl,
           r.name || '.' || quote_ident(a.attname) AS name, r.name AS relation, r.relkind,
           r.relispartition, r.relowner,
           -- What rows of before the column was added have: a file without rows has none of them.
           CASE WHEN a.atthasmissing AND pg_relation_size(r.oid) > 0 THEN a.attmissingval::text
           END AS earlier,
           format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attcollation = t.typcollation THEN ''
                   ELSE ' COLLATE ' || a.attcollation::regcollation END AS type
      FROM pg_attribute a JOIN rel r ON r.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
     WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind <> 'S'),
typ AS MATERIALIZED (
    SELECT t.*, ns.name || '.' || quote_ident(t.typname) AS name, 'schema ' || ns.name AS whole
      FROM pg_type t JOIN ns ON ns.oid = t.typnamespace
      LEFT JOIN pg_class c ON c.oid = t.typrelid
     -- Arrays, multiranges and the rows of tables come with what they are of.
     WHERE t.typtype <> 'm' AND (t.typrelid = 0 OR c.relkind = 'c')
       AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
       AND NOT EXISTS (SELECT FROM brought b
            WHERE b.classid = 'pg_type'::regclass AND b.objid = t.oid)),
fun AS MATERIALIZED (
    SELECT p.*, ns.name || '.' || quote_ident(p.proname)
                || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
           'schema ' || ns.name AS whole
      FROM pg_proc p JOIN ns ON ns.oid = p.pronamespace
     WHERE NOT EXISTS (SELECT FROM brought b
            WHERE b.classid = 'pg_proc'::regclass AND b.objid = p.oid)
       -- A range type's constructors come with it.
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
            AND d.objid = p.oid AND d.deptype = 'i')),
obj AS MATERIALIZED (
    SELECT word, name,
           CASE WHEN relkind = 'S' THEN 'sequence ' ELSE 'relation ' END || name AS whole,
           relowner AS owner, relacl AS acl,
           acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner) AS usual
      FROM own
    UNION ALL
    SELECT 'SCHEMA', name, 'schema ' || name, nspowner, nspacl, acldefault('n', nspowner)
      FROM ns WHERE NOT brought
    UNION ALL
    SELECT 'ROUTINE', name, 'function ' || name, proowner, proacl, acldefault('f', proowner)
      FROM fun
    UNION ALL
    SELECT 'TYPE', name, 'type ' || name, typowner, typacl, acldefault('T', typowner) FROM typ
    UNION ALL
    SELECT 'FOREIGN SERVER', quote_ident(srvname), 'object server ' || quote_ident(srvname),
           srvowner, srvacl, acldefault('S', srvowner)
      FROM pg_foreign_server
    UNION ALL
    SELECT 'LANGUAGE', quote_ident(lanname), 'object language ' || quote_ident(lanname),
           lanowner, lanacl, acldefault('l', lanowner)
      FROM pg_language l WHERE lanname NOT IN ('internal', 'c')),
granted AS MATERIALIZED (
    -- A table's own default says no more than who owns it, and most tables have no other.
    SELECT word, name, whole, owner, coalesce(acl, usual) AS acl FROM obj
     WHERE acl IS NOT NULL OR word IN ('SCHEMA', 'ROUTINE', 'TYPE', 'LANGUAGE')
    UNION ALL
    SELECT 'COLUMN', name, 'column ' || name, relowner, attacl FROM col WHERE attacl IS NOT NULL)
SELECT 'schema', name, '', '', '' FROM ns WHERE NOT brought
UNION ALL
SELECT 'extension', quote_ident(extname), '', '', extnamespace::regnamespace::text
  FROM pg_extension
UNION ALL
SELECT 'relation', name, CASE WHEN brought THEN '' ELSE whole END, '',
       CASE WHEN relpersistence = 'u' THEN 'unlogged ' ELSE '' END
       || CASE WHEN brought THEN 'extension table' ELSE CASE relkind WHEN 'p' THEN
            'table partitioned by ' || pg_get_partkeydef(oid)
            ELSE lower(word) END END
  FROM rel WHERE relkind <> 'S'
UNION ALL
SELECT 'partition', r.name, 'relation ' || r.name, '',
       format('%%s %%s', i.inhparent::regclass, pg_get_expr(r.relpartbound, r.oid))
  FROM own r JOIN pg_inherits i ON i.inhrelid = r.oid
 WHERE r.relispartition AND NOT i.inhdetachpending
UNION ALL
SELECT 'inheritance', r.name, 'relation ' || r.name, '',
       string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
  FROM own r JOIN pg_inherits i ON i.inhrelid = r.oid
 WHERE NOT r.relispartition GROUP BY r.name
UNION ALL
SELECT 'column', name, 'relation ' || relation, '', type FROM col
UNION ALL
SELECT 'not null', name, 'column ' || name, 'relation ' || relation, '' FROM col
 WHERE attnotnull AND relkind IN ('r', 'p')
UNION ALL
SELECT CASE WHEN c.attgenerated = '' THEN 'default' ELSE 'generated' END, c.name,
       'column ' || c.name, 'relation ' || c.relation,
       pg_get_expr(d.adbin, d.adrelid)
       || CASE c.attgenerated WHEN 's' THEN ' STORED' WHEN 'v' THEN ' VIRTUAL' ELSE '' END
  FROM pg_attrdef d JOIN col c ON c.attrelid = d.adrelid AND c.attnum = d.adnum
UNION ALL
SELECT 'value of earlier rows', name, 'column ' || name, 'relation ' || relation, earlier FROM col
 WHERE earlier IS NOT NULL
UNION ALL
-- From 17 on a partition has its root's.
SELECT 'identity', name, 'column ' || name, 'relation ' || relation,
       CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END FROM col
 WHERE attidentity <> '' AND NOT relispartition
UNION ALL
-- 18 has NOT NULL here too, and before it only the column knows. A partition has its root's.
SELECT 'constraint', format('%%I on %%s', c.conname, r.name), 'relation ' || r.name,
       'partition ' || r.name, pg_get_constraintdef(c.oid)
  FROM pg_constraint c JOIN own r ON r.oid = c.conrelid
 WHERE c.contype IN ('c', 'f', 'p', 'u', 'x') AND c.conparentid = 0
UNION ALL
SELECT 'constraint', format('%%I on domain %%s', c.conname, t.name), 'type ' || t.name, '',
       pg_get_constraintdef(c.oid)
  FROM pg_constraint c JOIN typ t ON t.oid = c.contypid WHERE c.contype = 'c'
UNION ALL
SELECT CASE WHEN i.indisunique THEN 'unique index' ELSE 'index' END,
       ns.name || '.' || quote_ident(x.relname), 'relation ' || r.name,
       'partition ' || r.name,
       pg_get_indexdef(x.oid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
  FROM pg_index i JOIN own r ON r.oid = i.indrelid
  JOIN pg_class x ON x.oid = i.indexrelid JOIN ns ON ns.oid = x.relnamespace
 WHERE NOT x.relispartition AND NOT EXISTS (
       SELECT FROM pg_constraint c WHERE c.conindid = x.oid AND c.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'replica identity', r.name, 'relation ' || r.name, '',
       CASE r.relreplident WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL'
            ELSE 'USING INDEX ' || coalesce((SELECT quote_ident(x.relname) FROM pg_index i
                 JOIN pg_class x ON x.oid = i.indexrelid
                WHERE i.indrelid = r.oid AND i.indisreplident), '(dropped)') END
  FROM own r WHERE r.relkind = 'r' AND r.relreplident <> 'd'
UNION ALL
SELECT 'row security', name, 'relation ' || name, '',
       CASE WHEN relforcerowsecurity THEN 'forced' ELSE 'enabled' END
  FROM own WHERE relrowsecurity
UNION ALL
SELECT 'policy', format('%%I on %%s', p.polname, r.name), 'relation ' || r.name, '',
       concat_ws(' ', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
           'FOR ' || p.polcmd::text, 'TO ' || (SELECT string_agg(CASE WHEN o = 0 THEN 'PUBLIC'
               ELSE quote_ident(pg_get_userbyid(o)) END, ', ' ORDER BY o = 0,
               pg_get_userbyid(o)) FROM unnest(p.polroles) o),
           'USING ' || pg_get_expr(p.polqual, p.polrelid),
           'WITH CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_policy p JOIN own r ON r.oid = p.polrelid
UNION ALL
SELECT 'trigger', format('%%I on %%s', t.tgname, r.name), 'relation ' || r.name,
       'partition ' || r.name, pg_get_triggerdef(t.oid)
       || CASE t.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' (DISABLED)'
           WHEN 'R' THEN ' (ENABLE REPLICA)' ELSE ' (ENABLE ALWAYS)' END
  FROM pg_trigger t JOIN own r ON r.oid = t.tgrelid
 WHERE NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT 'rule', format('%%I on %%s', w.rulename, r.name), 'relation ' || r.name, '',
       pg_get_ruledef(w.oid)
       || CASE w.ev_enabled WHEN 'O' THEN '' ELSE ' ' || w.ev_enabled::text END
  FROM pg_rewrite w JOIN own r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
UNION ALL
SELECT 'query', name, 'relation ' || name, '',
       concat_ws(' ', array_to_string(reloptions, ','), pg_get_viewdef(oid))
  FROM own WHERE relkind IN ('v', 'm')
UNION ALL
SELECT 'sequence', r.name, r.whole, '',
       format('AS %%s START %%s MINVALUE %%s MAXVALUE %%s INCREMENT %%s %%s',
              format_type(s.seqtypid, NULL), s.seqstart, s.seqmin, s.seqmax, s.seqincrement,
              CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)
  FROM pg_sequence s JOIN own r ON r.oid = s.seqrelid
UNION ALL
SELECT 'function', name, whole, '',
       concat_ws(' ', prokind, language, provolatile, proparallel, prosecdef, proisstrict,
           proleakproof, array_to_string(proconfig, ','), pg_get_function_result(f.oid),
           pg_get_function_arguments(f.oid), probin, md5(prosrc), pg_get_function_sqlbody(f.oid),
           a.aggtransfn::regprocedure::text, a.aggfinalfn::regproc::text, a.agginitval)
  FROM (SELECT fun.*, (SELECT lanname FROM pg_language l WHERE l.oid = prolang) AS language
          FROM fun) f LEFT JOIN pg_aggregate a ON a.aggfnoid = f.oid
UNION ALL
SELECT 'type', name, whole, '', CASE typtype WHEN 'e' THEN 'enum' WHEN 'c' THEN 'composite'
       WHEN 'd' THEN concat_ws(' ', 'domain', format_type(typbasetype, typtypmod),
           CASE WHEN typnotnull THEN 'NOT NULL' END, 'DEFAULT ' || typdefault)
       WHEN 'r' THEN 'range of ' || (SELECT format_type(rngsubtype, NULL) FROM pg_range
           WHERE rngtypid = typ.oid) ELSE 'base' END
  FROM typ
UNION ALL
SELECT 'enum', t.name, 'type ' || t.name, '',
       json_agg(e.enumlabel ORDER BY e.enumsortorder)::text
  FROM typ t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY t.name
UNION ALL
SELECT 'attribute', t.name || '.' || quote_ident(a.attname), 'type ' || t.name, '',
       format_type(a.atttypid, a.atttypmod)
  FROM typ t JOIN pg_attribute a ON a.attrelid = t.typrelid
 WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'statistics', ns.name || '.' || quote_ident(s.stxname), 'relation ' || r.name, '',
       pg_get_statisticsobjdef(s.oid)
  FROM pg_statistic_ext s JOIN own r ON r.oid = s.stxrelid JOIN ns ON ns.oid = s.stxnamespace
UNION ALL
SELECT 'event trigger', quote_ident(evtname), '', '',
       concat_ws(' ', evtevent, array_to_string(evttags, ','), evtfoid::regproc, evtenabled)
  FROM pg_event_trigger e WHERE NOT EXISTS (SELECT FROM brought b
       WHERE b.classid = 'pg_event_trigger'::regclass AND b.objid = e.oid)
UNION ALL
SELECT 'publication', quote_ident(pubname), '', '', ''
  FROM pg_publication WHERE pubname !~ '^bg_'
UNION ALL
SELECT 'user mapping', format('%%I on %%I', usename, srvname), '', '', '' FROM pg_user_mappings
UNION ALL
SELECT 'object', o.type || ' ' || o.identity,
       coalesce('schema ' || quote_ident(o.schema), ''), '', ''
  FROM (SELECT 'pg_cast'::regclass AS class, oid FROM pg_cast
        UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
        UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
        UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
        UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
        UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
        UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
        UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
        UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
        UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
        UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform
        UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server) c
  CROSS JOIN LATERAL pg_identify_object(c.class, c.oid, 0) o
 WHERE c.oid >= 16384  -- FirstNormalObjectId
   AND o.schema IS DISTINCT FROM 'pg_catalog' AND o.schema IS DISTINCT FROM 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = c.class AND d.objid = c.oid
        AND d.deptype IN ('e', 'i'))
UNION ALL
SELECT 'large objects', 'large objects', '', '',
       format('%%s, the last of them %%s', count(*), max(oid::bigint))
  FROM pg_largeobject_metadata HAVING count(*) > 0
UNION ALL
SELECT 'owner', word || ' ' || name, whole, '', quote_ident(pg_get_userbyid(owner)) FROM obj
 WHERE word <> 'LANGUAGE'
UNION ALL
SELECT 'privilege', {grantee} || ' on ' || g.word || ' ' || g.name, g.whole,
       'role ' || {grantee}, {privileges}
  FROM granted g CROSS JOIN LATERAL aclexplode(g.acl) a
 WHERE a.grantee <> g.owner AND NOT EXISTS (
       SELECT FROM pg_roles r WHERE r.oid = a.grantee AND r.rolname ~ {aws})
 GROUP BY 2, 3, 4
UNION ALL
-- An owner has all privileges, unless some are taken from it.
SELECT 'revoked from owner', o.word || ' ' || o.name, o.whole, '',
       string_agg(u.privilege_type, ', ' ORDER BY u.privilege_type)
  FROM obj o CROSS JOIN LATERAL aclexplode(o.usual) u
 WHERE o.acl IS NOT NULL AND u.grantee = o.owner AND u.privilege_type <> 'MAINTAIN'
   AND NOT EXISTS (SELECT FROM aclexplode(o.acl) a
        WHERE a.grantee = o.owner AND a.privilege_type = u.privilege_type)
 GROUP BY 2, 3
UNION ALL
SELECT 'default privileges', concat_ws(' ', 'of', quote_ident(pg_get_userbyid(d.defaclrole)),
           'in ' || n.name, 'for ' || d.defaclobjtype::text, 'to', {grantee}),
       coalesce('schema ' || n.name, ''),
       'role ' || quote_ident(pg_get_userbyid(d.defaclrole)), {privileges}
  FROM pg_default_acl d LEFT JOIN ns n ON n.oid = d.defaclnamespace
  CROSS JOIN LATERAL aclexplode(d.defaclacl) a
 WHERE a.grantee <> d.defaclrole
 GROUP BY 2, 3, 4
UNION ALL
SELECT 'roots', 'roots', '', '', '' WHERE EXISTS (
       SELECT FROM pg_publication WHERE pubname ~ '^bg_' AND pubviaroot)""")
"""Everything in one database that an application or replication relies on."""
