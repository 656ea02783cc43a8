-- The roles that RDS makes, with what its documentation lists of each; run once, as rdsadmin.
-- `rds_replication` comes first: who is put into it gets the attribute by the library.

CREATE ROLE rds_replication;
CREATE ROLE rds_password;
CREATE ROLE rds_iam;
CREATE ROLE rds_ad;
CREATE ROLE rds_superuser;
GRANT pg_monitor, pg_signal_backend, pg_checkpoint, pg_create_subscription,
      pg_use_reserved_connections, rds_password, rds_replication
   TO rds_superuser WITH ADMIN OPTION;
-- rds.superuser_variables
GRANT SET ON PARAMETER session_replication_role TO rds_superuser;
