/* Functions that Aurora lacks, refused to everybody but the lab's superuser. */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"

#include "rds_lookalike.h"

static const struct
{
	Oid			function;
	const char *name;
}			unsupported[] = {
	{F_PG_STAT_GET_WAL, "pg_stat_get_wal"},
	{F_PG_STAT_GET_WAL_RECEIVER, "pg_stat_get_wal_receiver"},
	{F_PG_LAST_WAL_RECEIVE_LSN, "pg_last_wal_receive_lsn"},
	{F_PG_LAST_WAL_REPLAY_LSN, "pg_last_wal_replay_lsn"},
	{F_PG_LAST_XACT_REPLAY_TIMESTAMP, "pg_last_xact_replay_timestamp"},
	{F_PG_LS_WALDIR, "pg_ls_waldir"},
	{F_PG_WALFILE_NAME, "pg_walfile_name"},
};

static void
refuse_function(Oid function)
{
	int			at;

	for (at = 0; at < lengthof(unsupported); at++)
		if (unsupported[at].function == function)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("Function %s() is currently not supported for Aurora",
							unsupported[at].name)));
}

void
watch_access(ObjectAccessType access, Oid class, Oid object, int part, void *argument)
{
	/* The lab's own superuser needs what community PostgreSQL has. */
	if (access == OAT_FUNCTION_EXECUTE && class == ProcedureRelationId && !superuser())
		refuse_function(object);
}

PG_FUNCTION_INFO_V1(lab_current_wal_lsn);

/*
 * What pg_current_wal_lsn() is in Aurora mode (catalog.sql), and so those that are made of it. It
 * refuses when it is called, as there: a query that asks for wal_level first is none the worse for
 * naming it, while the hook above runs before any of the query does.
 */
Datum
lab_current_wal_lsn(PG_FUNCTION_ARGS)
{
	if (wal_level < WAL_LEVEL_LOGICAL && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("wal_level must be set to 'logical'"),
				 errhint("WAL control functions cannot be executed when wal_level < logical.")));
	return pg_current_wal_lsn(fcinfo);
}
