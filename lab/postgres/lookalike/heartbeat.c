/* The heartbeat: rdsadmin is logged in all the time, and writes every few seconds. */
#include "postgres.h"

#include <dlfcn.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

#include "rds_lookalike.h"

#define HEARTBEAT_MILLISECONDS 3000

PGDLLEXPORT void rds_heartbeat(Datum argument);

typedef void *(*connect_function) (const char *);
typedef int (*status_function) (const void *);
typedef void *(*exec_function) (void *, const char *);
typedef void (*free_function) (void *);

static struct
{
	connect_function connect;	/* PQconnectdb */
	status_function status;		/* PQstatus */
	exec_function exec;			/* PQexec */
	free_function clear;		/* PQclear */
	free_function finish;		/* PQfinish */
}			pq;

/*
 * Only here, and not linked: the library is in every process of the server, and some have another
 * libpq of their own.
 */
static bool
load_libpq(void)
{
	void	   *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);

	if (library == NULL)
		return false;
	pq.connect = (connect_function) dlsym(library, "PQconnectdb");
	pq.status = (status_function) dlsym(library, "PQstatus");
	pq.exec = (exec_function) dlsym(library, "PQexec");
	pq.clear = (free_function) dlsym(library, "PQclear");
	pq.finish = (free_function) dlsym(library, "PQfinish");
	return pq.connect && pq.status && pq.exec && pq.clear && pq.finish;
}

/* Return an open session, or NULL: until the lab has made the database there is none to be had. */
static void *
log_in(void)
{
	void	   *session = pq.connect(psprintf("hostaddr=%s port=%s user=rdsadmin dbname=rdsadmin"
											  " connect_timeout=5 sslmode=disable"
											  " options='-c default_transaction_read_only=off'",
											  GetConfigOption("listen_addresses", false, false),
											  GetConfigOption("port", false, false)));

	if (session != NULL && pq.status(session) != 0)
	{
		pq.finish(session);
		return NULL;
	}
	return session;
}

/*
 * A client like any other: a background worker's own session would not be among the client
 * backends, which is where rdsadmin shows on RDS.
 */
void
rds_heartbeat(Datum argument)
{
	void	   *session = NULL;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (!load_libpq())
	{
		elog(LOG, "rds_lookalike: no libpq to write a heartbeat with");
		proc_exit(0);
	}
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (session == NULL)
			session = log_in();
		if (session != NULL)
		{
			pq.clear(pq.exec(session, "UPDATE public.rds_heartbeat SET value = value + 1"));
			if (pq.status(session) != 0)
			{
				pq.finish(session);
				session = NULL;
			}
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 HEARTBEAT_MILLISECONDS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
register_heartbeat(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	strlcpy(worker.bgw_name, "rds heartbeat", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "rds heartbeat", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "rds_lookalike", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "rds_heartbeat", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	RegisterBackgroundWorker(&worker);
}
