/*
 * What Aurora PostgreSQL lets its master user do, and what it refuses, on a community server.
 *
 * The lab builds it against the server's own headers and preloads it (lab/postgres/aurora_mode.py).
 * Four things, none of which SQL alone can bring:
 *
 * - Members of rds_superuser, who are no superusers, may publish all tables and the tables of a
 *   schema, make event triggers and extensions, and alter and grant roles that they did not make.
 * - Who is in rds_replication may replicate. Here the role's attribute is what counts, so it
 *   follows the membership; the view pg_roles hides it, as RDS does (catalog.sql).
 * - Functions that Aurora lacks say so in its words.
 * - rdsadmin is logged in, and writes its heartbeat.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"

#include "rds_lookalike.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static ProcessUtility_hook_type previous_utility = NULL;

/* Return whether the caller is what the master user is: nearly a superuser. */
static bool
is_rds_superuser(void)
{
	return IsTransactionState() && !superuser() && is_member(GetUserId(), "rds_superuser");
}

/* Return whether a statement of the master user's is to run as rdsadmin's. */
static bool
is_raised(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CreatePublicationStmt:
			return raises_publication((CreatePublicationStmt *) node);
		case T_AlterPublicationStmt:
			return raises_publication_change((AlterPublicationStmt *) node);
		case T_AlterRoleStmt:
			return raises_alter((AlterRoleStmt *) node);
		case T_AlterRoleSetStmt:
			return raises_setting((AlterRoleSetStmt *) node);
		case T_GrantRoleStmt:
			return raises_grant((GrantRoleStmt *) node);
		case T_CreateExtensionStmt:
			return raises_extension((CreateExtensionStmt *) node);
		case T_AlterExtensionStmt:
			return raises_extension_update((AlterExtensionStmt *) node);
		case T_CreateEventTrigStmt:
			return true;
		default:
			return false;
	}
}

static void
follow(Node *node, Oid caller)
{
	if (IsA(node, CreatePublicationStmt) && OidIsValid(caller))
		give_publication(((CreatePublicationStmt *) node)->pubname, caller);
	else if (IsA(node, CreateEventTrigStmt) && OidIsValid(caller))
		give_event_trigger(((CreateEventTrigStmt *) node)->trigname, caller);
	else if (IsA(node, CreateExtensionStmt) && OidIsValid(caller))
		give_extension(((CreateExtensionStmt *) node)->extname, caller);
	else if (IsA(node, GrantRoleStmt))
		follow_grant((GrantRoleStmt *) node);
	else if (IsA(node, CreateRoleStmt))
		follow_creation((CreateRoleStmt *) node);
}

static bool
is_ours(Node *node)
{
	switch (nodeTag(node))
	{
		case T_CreatePublicationStmt:
		case T_AlterPublicationStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_GrantRoleStmt:
		case T_CreateExtensionStmt:
		case T_AlterExtensionStmt:
		case T_CreateEventTrigStmt:
			return IsTransactionState();
		default:
			return false;
	}
}

static void
run_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
			DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *node = pstmt->utilityStmt;
	bool		ours = is_ours(node);
	Oid			caller = InvalidOid;
	int			security = 0;

	if (ours && is_rds_superuser())
	{
		refuse_replication(node);
		if (is_raised(node))
		{
			GetUserIdAndSecContext(&caller, &security);
			SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
								   security | SECURITY_LOCAL_USERID_CHANGE);
		}
	}
	PG_TRY();
	{
		if (previous_utility)
			previous_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv,
									dest, qc);
	}
	PG_FINALLY();
	{
		if (OidIsValid(caller))
			SetUserIdAndSecContext(caller, security);
	}
	PG_END_TRY();
	if (ours)
		follow(node, caller);
}

void
_PG_init(void)
{
	/* pg_upgrade works on a server as it is. */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
	object_access_hook = watch_access;
	register_heartbeat();
}
