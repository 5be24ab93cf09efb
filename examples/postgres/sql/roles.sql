-- Who may do what: the sink writes rows, auditors read. Give them to logins of your own:
--   CREATE ROLE genesys_audit_sink LOGIN PASSWORD '…' IN ROLE genesys_audit_writer;
--   CREATE ROLE auditor LOGIN PASSWORD '…' IN ROLE genesys_audit_reader;
--   ALTER ROLE auditor SET jit = off; -- compiling a report for each of some 25 partitions takes longer than running it
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'genesys_audit_writer') THEN
    CREATE ROLE genesys_audit_writer NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'genesys_audit_reader') THEN
    CREATE ROLE genesys_audit_reader NOLOGIN;
  END IF;
END $$;
-- On a partitioned table rights are asked of the table that is named: partitions to come need none.
GRANT USAGE ON SCHEMA genesys_audit TO genesys_audit_writer, genesys_audit_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON genesys_audit.changes TO genesys_audit_writer;
GRANT SELECT ON genesys_audit.changes, genesys_audit.settings, genesys_audit.holidays, genesys_audit.who_changed_what,
  genesys_audit.grants_in_force, genesys_audit.changes_outside_working_hours, genesys_audit.dormant_admins,
  genesys_audit.queue_changes TO genesys_audit_reader;
REVOKE EXECUTE ON FUNCTION genesys_audit.create_partitions FROM PUBLIC;
