/*
 * Roles: members of rds_superuser may alter and grant those that they did not make; who is in
 * rds_replication may replicate, which here is an attribute's to say, and on RDS the membership's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc_tables.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "rds_lookalike.h"

bool
is_member(Oid role, const char *group)
{
	Oid			oid = get_role_oid(group, true);

	return OidIsValid(oid) && is_member_of_role_nosuper(role, oid);
}

/* Nobody but rdsadmin may have these, or give them on. */
static bool
is_reserved(Oid role)
{
	return !OidIsValid(role) || superuser_arg(role) ||
		role == ROLE_PG_READ_SERVER_FILES || role == ROLE_PG_WRITE_SERVER_FILES ||
		role == ROLE_PG_EXECUTE_SERVER_PROGRAM;
}

/* Return whether community PostgreSQL would refuse a role to the master user, and RDS does not. */
static bool
is_others(Oid role)
{
	return !is_reserved(role) && !is_admin_of_role(GetUserId(), role);
}

static DefElem *
find_role_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
		if (strcmp(((DefElem *) lfirst(cell))->defname, name) == 0)
			return (DefElem *) lfirst(cell);
	return NULL;
}

/*
 * The master user has the attribute here, which would let it give the attribute on. On RDS nobody
 * can. In ALTER ROLE the mere word counts, whatever the value.
 */
void
refuse_replication(Node *node)
{
	if (IsA(node, AlterRoleStmt) &&
		find_role_option(((AlterRoleStmt *) node)->options, "isreplication"))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to alter role"),
				 errdetail("Only roles with the %s attribute may change the %s attribute.",
						   "REPLICATION", "REPLICATION")));
	if (IsA(node, CreateRoleStmt))
	{
		DefElem    *given = find_role_option(((CreateRoleStmt *) node)->options, "isreplication");

		if (given != NULL && boolVal(given->arg))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to create role"),
					 errdetail("Only roles with the %s attribute may create roles with the %s"
							   " attribute.", "REPLICATION", "REPLICATION")));
	}
}

bool
raises_alter(AlterRoleStmt *stmt)
{
	return is_others(get_rolespec_oid(stmt->role, true)) &&
		!find_role_option(stmt->options, "superuser") && !find_role_option(stmt->options, "bypassrls");
}

/* A setting that only superusers may set stays refused. */
bool
raises_setting(AlterRoleSetStmt *stmt)
{
	const char *name = stmt->setstmt->name;

	return stmt->role != NULL && is_others(get_rolespec_oid(stmt->role, true)) &&
		(name == NULL || find_option(name, false, false, ERROR)->context == PGC_USERSET);
}

bool
raises_grant(GrantRoleStmt *stmt)
{
	ListCell   *cell;
	bool		others = false;

	foreach(cell, stmt->granted_roles)
	{
		const char *name = ((AccessPriv *) lfirst(cell))->priv_name;
		Oid			role = name ? get_role_oid(name, true) : InvalidOid;

		if (is_reserved(role))
			return false;
		others = others || is_others(role);
	}
	return others && stmt->grantor == NULL;
}

/* Let a role's attribute follow its membership in rds_replication. */
static void
set_replication(Oid role)
{
	Relation	catalog;
	HeapTuple	tuple;

	if (!OidIsValid(role) || superuser_arg(role))
		return;
	catalog = table_open(AuthIdRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(AUTHOID, ObjectIdGetDatum(role));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_authid form = (Form_pg_authid) GETSTRUCT(tuple);
		bool		wanted = is_member(role, "rds_replication");

		/* The groups themselves don't have it on RDS, either. */
		if (form->rolreplication != wanted && strncmp(NameStr(form->rolname), "rds_", 4) != 0)
		{
			form->rolreplication = wanted;
			CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
			CommandCounterIncrement();
		}
	}
	table_close(catalog, RowExclusiveLock);
}

void
follow_grant(GrantRoleStmt *stmt)
{
	ListCell   *cell;
	bool		found = false;

	foreach(cell, stmt->granted_roles)
	{
		const char *name = ((AccessPriv *) lfirst(cell))->priv_name;

		found = found || (name != NULL && (strcmp(name, "rds_replication") == 0 ||
										   strcmp(name, "rds_superuser") == 0));
	}
	if (!found)
		return;
	CommandCounterIncrement();
	foreach(cell, stmt->grantee_roles)
		set_replication(get_rolespec_oid((RoleSpec *) lfirst(cell), true));
}

void
follow_creation(CreateRoleStmt *stmt)
{
	Oid			role;

	CommandCounterIncrement();
	role = get_role_oid(stmt->role, true);
	/* What rdsadmin has given by the attribute's own name stays. */
	if (OidIsValid(role) && is_member(role, "rds_replication"))
		set_replication(role);
}
