-- Where the change records go, and what the reports are set by.
SET client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS genesys_audit;

-- One row a change record, one column a field of schemas/configuration_change.avsc, in snake case.
--
-- A table that is partitioned by timestamp can have no unique key without it, so the key is the record's
-- (auditId:changeIndex) and the timestamp. A record that comes again has the same timestamp, and finds its row.
CREATE TABLE IF NOT EXISTS genesys_audit.changes (
  audit_id          text        NOT NULL,
  change_index      integer     NOT NULL,
  change_count      integer     NOT NULL,
  "timestamp"       timestamptz NOT NULL,
  user_id           text,
  user_name         text,
  action            text        NOT NULL,
  entity_type       text        NOT NULL,
  entity_id         text,
  entity_name       text,
  configuration_key text,
  change_type       text        NOT NULL,
  previous_value    text,
  new_value         text,
  previous_type     text        NOT NULL,
  new_type          text        NOT NULL,
  org_id            text,
  service_name      text,
  client_id         text,
  status            text,
  level             text,
  application       text,
  remote_ip         text[],
  context           jsonb,
  message           text,
  transaction_id    text,
  member_id         text,
  member_type       text,
  member_name       text,
  division_id       text,
  division_name     text,
  resolved_names    text[],
  masked_fields     text[],
  -- The record's key as it stands in Kafka: a tombstone names nothing else.
  record_id         text        NOT NULL GENERATED ALWAYS AS (audit_id || ':' || change_index::text) STORED,
  PRIMARY KEY (audit_id, change_index, "timestamp")
) PARTITION BY RANGE ("timestamp");

-- What the API's dialects spell differently (queue, Queue) is compared in lower case.
CREATE INDEX IF NOT EXISTS changes_record ON genesys_audit.changes (record_id);
CREATE INDEX IF NOT EXISTS changes_type   ON genesys_audit.changes (lower(entity_type), "timestamp");
CREATE INDEX IF NOT EXISTS changes_entity ON genesys_audit.changes (entity_id, "timestamp");
CREATE INDEX IF NOT EXISTS changes_user   ON genesys_audit.changes (user_id, "timestamp");
CREATE INDEX IF NOT EXISTS changes_member ON genesys_audit.changes (member_id, "timestamp");

-- What is out of the range of all months, however wrong its time may be, is kept here.
CREATE TABLE IF NOT EXISTS genesys_audit.changes_default PARTITION OF genesys_audit.changes DEFAULT;

-- One row: what the reports are set by.
--   UPDATE genesys_audit.settings SET time_zone = 'Europe/Vienna', work_ends = '17:30';
CREATE TABLE IF NOT EXISTS genesys_audit.settings (
  only_row      boolean   PRIMARY KEY DEFAULT true CHECK (only_row),
  time_zone     text      NOT NULL DEFAULT 'UTC' CHECK (timestamptz 'epoch' AT TIME ZONE time_zone IS NOT NULL),
  work_starts   time      NOT NULL DEFAULT '08:00',
  work_ends     time      NOT NULL DEFAULT '18:00', -- exclusive; 24:00 is allowed
  work_days     integer[] NOT NULL DEFAULT '{1,2,3,4,5}' CHECK (work_days <@ '{1,2,3,4,5,6,7}'), -- 1 is Monday
  dormant_after interval  NOT NULL DEFAULT '90 days' CHECK (dormant_after > '0'),
  admin_roles   text      NOT NULL DEFAULT 'admin', -- a regular expression that an admin's role matches, in any case
  admin_ids     text[]    NOT NULL DEFAULT '{}',    -- ids of further roles, for where no names are known
  client_ids    text[]    NOT NULL DEFAULT '{}',    -- ids of OAuth clients that events have as if they were users
  CHECK (work_starts < work_ends)
);
ALTER TABLE genesys_audit.settings ADD COLUMN IF NOT EXISTS client_ids text[] NOT NULL DEFAULT '{}'; -- one that is older
INSERT INTO genesys_audit.settings DEFAULT VALUES ON CONFLICT DO NOTHING;
ANALYZE genesys_audit.settings; -- or it is planned with hundreds of rows, for autovacuum leaves so small a table alone

-- Days without working hours.
CREATE TABLE IF NOT EXISTS genesys_audit.holidays (
  day  date PRIMARY KEY,
  name text
);
