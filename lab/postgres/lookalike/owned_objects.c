/*
 * Publications, event triggers and extensions: members of rds_superuser may publish all tables, and
 * all of a schema, make event triggers, and extensions that only superusers may make elsewhere.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_database.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_publication.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "rds_lookalike.h"

static bool
names_schemas(List *objects)
{
	ListCell   *cell;

	foreach(cell, objects)
	{
		PublicationObjSpecType kind = ((PublicationObjSpec *) lfirst(cell))->pubobjtype;

		if (kind == PUBLICATIONOBJ_TABLES_IN_SCHEMA || kind == PUBLICATIONOBJ_TABLES_IN_CUR_SCHEMA)
			return true;
	}
	return false;
}

static bool
owns_publication(const char *name)
{
	Oid			oid = get_publication_oid(name, true);

	return OidIsValid(oid) && object_ownercheck(PublicationRelationId, oid, GetUserId());
}

/* Lists of tables need no help: their owner may publish them, and on RDS too nobody else. */
bool
raises_publication(CreatePublicationStmt *stmt)
{
	return (stmt->for_all_tables || names_schemas(stmt->pubobjects)) &&
		object_aclcheck(DatabaseRelationId, MyDatabaseId, GetUserId(), ACL_CREATE) == ACLCHECK_OK;
}

bool
raises_publication_change(AlterPublicationStmt *stmt)
{
	return names_schemas(stmt->pubobjects) && owns_publication(stmt->pubname);
}

/*
 * Who made it owns it, as on RDS. ALTER PUBLICATION ... OWNER TO would refuse: it wants a
 * superuser as the owner of one for all tables.
 */
void
give_publication(const char *name, Oid owner)
{
	Relation	catalog = table_open(PublicationRelationId, RowExclusiveLock);
	HeapTuple	tuple;

	CommandCounterIncrement();
	tuple = SearchSysCacheCopy1(PUBLICATIONNAME, CStringGetDatum(name));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_publication form = (Form_pg_publication) GETSTRUCT(tuple);

		form->pubowner = owner;
		CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
		changeDependencyOnOwner(PublicationRelationId, form->oid, owner);
		CommandCounterIncrement();
	}
	table_close(catalog, RowExclusiveLock);
}

void
give_event_trigger(const char *name, Oid owner)
{
	Relation	catalog = table_open(EventTriggerRelationId, RowExclusiveLock);
	HeapTuple	tuple;

	CommandCounterIncrement();
	tuple = SearchSysCacheCopy1(EVENTTRIGGERNAME, CStringGetDatum(name));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_event_trigger form = (Form_pg_event_trigger) GETSTRUCT(tuple);

		form->evtowner = owner;
		CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
		changeDependencyOnOwner(EventTriggerRelationId, form->oid, owner);
		CommandCounterIncrement();
	}
	table_close(catalog, RowExclusiveLock);
}

bool
raises_extension(CreateExtensionStmt *stmt)
{
	return !OidIsValid(get_extension_oid(stmt->extname, true)) &&
		object_aclcheck(DatabaseRelationId, MyDatabaseId, GetUserId(), ACL_CREATE) == ACLCHECK_OK;
}

bool
raises_extension_update(AlterExtensionStmt *stmt)
{
	Oid			oid = get_extension_oid(stmt->extname, true);

	return OidIsValid(oid) && object_ownercheck(ExtensionRelationId, oid, GetUserId());
}

/* Its objects stay rdsadmin's, as those of a trusted one are the bootstrap superuser's. */
void
give_extension(const char *name, Oid owner)
{
	Relation	catalog = table_open(ExtensionRelationId, RowExclusiveLock);
	Oid			oid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	CommandCounterIncrement();
	oid = get_extension_oid(name, false);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(oid));
	scan = systable_beginscan(catalog, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		tuple = heap_copytuple(tuple);
		((Form_pg_extension) GETSTRUCT(tuple))->extowner = owner;
		CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
		changeDependencyOnOwner(ExtensionRelationId, oid, owner);
		CommandCounterIncrement();
	}
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}
