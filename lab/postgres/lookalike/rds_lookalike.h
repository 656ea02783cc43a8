/* What the parts of the library know of each other. */
#ifndef RDS_LOOKALIKE_H
#define RDS_LOOKALIKE_H

#include "postgres.h"

#include "catalog/objectaccess.h"
#include "nodes/parsenodes.h"

/* roles.c */
extern bool is_member(Oid role, const char *group);
extern void refuse_replication(Node *node);
extern bool raises_alter(AlterRoleStmt *stmt);
extern bool raises_setting(AlterRoleSetStmt *stmt);
extern bool raises_grant(GrantRoleStmt *stmt);
extern void follow_grant(GrantRoleStmt *stmt);
extern void follow_creation(CreateRoleStmt *stmt);

/* owned_objects.c */
extern bool raises_publication(CreatePublicationStmt *stmt);
extern bool raises_publication_change(AlterPublicationStmt *stmt);
extern void give_publication(const char *name, Oid owner);
extern void give_event_trigger(const char *name, Oid owner);
extern bool raises_extension(CreateExtensionStmt *stmt);
extern bool raises_extension_update(AlterExtensionStmt *stmt);
extern void give_extension(const char *name, Oid owner);

/* functions.c */
extern void watch_access(ObjectAccessType access, Oid class, Oid object, int part, void *argument);

/* heartbeat.c */
extern void register_heartbeat(void);

#endif
