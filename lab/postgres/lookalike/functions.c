/* Functions that Aurora lacks, refused to everybody but the lab's superuser. */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"

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
	/* Those of the other LSN space are made of this one (catalog.sql). */
	if (function == F_PG_CURRENT_WAL_LSN && wal_level < WAL_LEVEL_LOGICAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("wal_level must be set to 'logical'"),
				 errhint("WAL control functions cannot be executed when wal_level < logical.")));
}

void
watch_access(ObjectAccessType access, Oid class, Oid object, int part, void *argument)
{
	/* The lab's own superuser needs what community PostgreSQL has. */
	if (access == OAT_FUNCTION_EXECUTE && class == ProcedureRelationId && !superuser())
		refuse_function(object);
}
