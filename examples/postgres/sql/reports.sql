-- Five reports. What they are set by stands in genesys_audit.settings and genesys_audit.holidays.
DROP VIEW IF EXISTS genesys_audit.dormant_admins, genesys_audit.grants_in_force, genesys_audit.changes_outside_working_hours,
  genesys_audit.queue_changes, genesys_audit.who_changed_what;

-- 1. Who has changed what: every change, readable, with the local time beside the instant.
--   SELECT * FROM genesys_audit.who_changed_what WHERE "timestamp" >= now() - interval '7 days' AND actor = 'Ann' ORDER BY "timestamp";
CREATE VIEW genesys_audit.who_changed_what AS
SELECT c."timestamp",
       c."timestamp" AT TIME ZONE s.time_zone AS local_time,
       -- An OAuth client's id may stand where a user's does, in both places or in that alone.
       CASE WHEN c.user_id IS NOT NULL AND c.user_id IS DISTINCT FROM c.client_id AND c.user_id <> ALL (s.client_ids) THEN 'user'
            WHEN COALESCE(c.client_id, c.user_id) IS NOT NULL THEN 'client'
            ELSE 'system' END AS actor_type,
       COALESCE(c.user_name, c.user_id, c.client_id, 'system') AS actor,
       c.user_id,
       c.client_id,
       array_to_string(c.remote_ip, ', ') AS addresses,
       c.service_name,
       c.action,
       c.entity_type,
       c.entity_id,
       COALESCE(c.entity_name, c.entity_id) AS entity,
       COALESCE(c.member_name, c.member_id) AS member, -- who came or went, or was given a role
       c.configuration_key,
       c.change_type,
       c.previous_value,
       c.new_value,
       COALESCE(c.status, 'SUCCESS') AS status,
       c.message,
       c.audit_id,
       c.change_index,
       c.record_id
  FROM genesys_audit.changes c CROSS JOIN genesys_audit.settings s;

-- 2. Grants in force: every grant and removal of a role that is known, replayed; what is left is in force. It knows no
-- grant from before the first event in the table: see README.md. Where a grant and a removal have the same millisecond,
-- the grant counts, so that the report shows rather too much. Roles, users, groups and OAuth clients that were deleted
-- since (of a user also by the state deleted) grant nothing, unless they came back.
--   SELECT * FROM genesys_audit.grants_in_force WHERE member = 'Ann';
CREATE VIEW genesys_audit.grants_in_force AS
WITH last AS (
  SELECT DISTINCT ON (member_id, entity_id, division_id) *
    FROM genesys_audit.changes
   WHERE lower(entity_type) = 'role' AND lower(action) IN ('memberadd', 'memberupdate', 'memberremove')
     AND member_id IS NOT NULL AND COALESCE(status, '') <> 'FAILURE'
   ORDER BY member_id, entity_id, division_id, "timestamp" DESC, lower(action) = 'memberremove', audit_id, change_index
)
SELECT g.member_id,
       COALESCE(m.member_name, u.user_name, g.member_id) AS member,
       g.member_type, -- user, group or client; NULL where nothing tells
       g.entity_id AS role_id,
       COALESCE(r.entity_name, g.entity_id) AS role,
       g.division_id,
       CASE g.division_id WHEN '*' THEN 'all divisions' ELSE COALESCE(g.division_name, g.division_id) END AS division,
       g."timestamp" AS granted_at,
       COALESCE(g.user_name, g.user_id, g.client_id, 'system') AS granted_by,
       g.audit_id
  FROM last g
  -- The newest name that any event has for them.
  LEFT JOIN LATERAL (SELECT n.member_name FROM genesys_audit.changes n
                      WHERE n.member_id = g.member_id AND n.member_name IS NOT NULL
                      ORDER BY n."timestamp" DESC LIMIT 1) m ON true
  LEFT JOIN LATERAL (SELECT n.user_name FROM genesys_audit.changes n
                      WHERE n.user_id = g.member_id AND n.user_name IS NOT NULL
                      ORDER BY n."timestamp" DESC LIMIT 1) u ON true
  LEFT JOIN LATERAL (SELECT n.entity_name FROM genesys_audit.changes n
                      WHERE n.entity_id = g.entity_id AND n.entity_name IS NOT NULL AND lower(n.entity_type) = 'role'
                      ORDER BY n."timestamp" DESC LIMIT 1) r ON true
 WHERE lower(g.action) <> 'memberremove'
   AND NOT EXISTS (SELECT FROM genesys_audit.changes d
                    WHERE d.entity_id IN (g.entity_id, g.member_id) AND d."timestamp" >= g."timestamp" AND COALESCE(d.status, '') <> 'FAILURE'
                      AND lower(d.entity_type) IN ('role', 'user', 'group', 'directorygroup', 'oauthclient')
                      AND (lower(d.action) IN ('delete', 'harddelete', 'softdelete') OR d.configuration_key = 'state' AND lower(d.new_value) = 'deleted')
                      AND NOT EXISTS (SELECT FROM genesys_audit.changes b -- back again
                                       WHERE b.entity_id = d.entity_id AND b."timestamp" > d."timestamp" AND COALESCE(b.status, '') <> 'FAILURE'
                                         AND lower(b.entity_type) = lower(d.entity_type)
                                         AND (lower(b.action) LIKE 'restore%' OR b.configuration_key = 'state' AND lower(b.new_value) <> 'deleted')));

-- 3. Changes outside working hours: one row an event of a person, with what it changed. Logins and logouts change
-- nothing. What a client or the system did is left out: see who_changed_what.
--   SELECT * FROM genesys_audit.changes_outside_working_hours WHERE local_time >= date_trunc('month', now()) ORDER BY local_time;
CREATE VIEW genesys_audit.changes_outside_working_hours AS
SELECT w."timestamp",
       w.local_time,
       to_char(w.local_time, 'FMDay') AS day,
       h.name AS holiday,
       w.actor,
       w.user_id,
       w.addresses,
       w.action,
       w.entity_type,
       w.entity,
       w.status,
       count(*) AS changes,
       array_agg(DISTINCT w.configuration_key) FILTER (WHERE w.configuration_key IS NOT NULL) AS keys,
       w.audit_id
  FROM genesys_audit.who_changed_what w
 CROSS JOIN genesys_audit.settings s
  LEFT JOIN genesys_audit.holidays h ON h.day = w.local_time::date
 WHERE w.actor_type = 'user'
   AND lower(w.action) NOT IN ('authenticate', 'authenticationfailed', 'login', 'logout', 'singlelogout', 'singlelogoutfailed')
   AND (h.day IS NOT NULL
        OR extract(isodow FROM w.local_time)::integer <> ALL (s.work_days)
        OR w.local_time::time < s.work_starts
        OR w.local_time::time >= s.work_ends)
 GROUP BY w."timestamp", w.local_time, h.name, w.actor, w.user_id, w.addresses, w.action, w.entity_type, w.entity, w.status, w.audit_id;

-- 4. Dormant admins: who holds an admin's role, and for settings.dormant_after has neither done anything, nor logged in,
-- nor been given the role. Groups do nothing themselves and are left out.
CREATE VIEW genesys_audit.dormant_admins AS
SELECT g.member_id,
       max(g.member) AS member,
       array_agg(DISTINCT g.role ORDER BY g.role) AS roles,
       max(g.granted_at) AS last_granted_at,
       a.last_seen_at, -- NULL: never, as far as the table goes back
       now() - a.last_seen_at AS dormant_for
  FROM genesys_audit.grants_in_force g
 CROSS JOIN genesys_audit.settings s
 CROSS JOIN LATERAL (
       SELECT max(c."timestamp") AS last_seen_at
         FROM (SELECT max("timestamp") AS "timestamp" FROM genesys_audit.changes
                WHERE user_id = g.member_id AND COALESCE(status, '') <> 'FAILURE' AND lower(action) <> 'authenticationfailed'
               UNION ALL -- a login may name whom it is about, and nobody who did it
               SELECT max("timestamp") FROM genesys_audit.changes
                WHERE entity_id = g.member_id AND COALESCE(status, '') <> 'FAILURE' AND lower(action) IN ('authenticate', 'login')) c) a
 WHERE (g.role ~* s.admin_roles OR g.role_id = ANY (s.admin_ids))
   AND g.member_type IS DISTINCT FROM 'group'
 GROUP BY g.member_id, a.last_seen_at, s.dormant_after
HAVING GREATEST(a.last_seen_at, max(g.granted_at)) < now() - s.dormant_after;

-- 5. Changes of one queue over time: its settings, and who came and went. Ask by queue_id: a name may have changed.
--   SELECT * FROM genesys_audit.queue_changes WHERE queue_id = '…' ORDER BY "timestamp", audit_id, change_index;
CREATE VIEW genesys_audit.queue_changes AS
SELECT w.entity_id AS queue_id,
       w.entity AS queue, -- as it was called at that time
       w."timestamp",
       w.local_time,
       w.actor,
       w.action,
       -- A queue's members stand in property names of their own, an attribute such as joined behind them.
       CASE WHEN w.change_type = 'NONE' THEN w.action
            WHEN w.member IS NULL OR w.configuration_key LIKE '%:joined' THEN
              concat_ws(' ', COALESCE(substring(w.configuration_key FROM ':(joined)$'), w.configuration_key, w.action) || ':',
                        COALESCE(w.previous_value, '(none)'), '→', COALESCE(w.new_value, '(none)'))
            WHEN w.change_type = 'REMOVED' THEN 'member removed'
            WHEN w.change_type = 'ADDED' THEN 'member added'
            ELSE 'member changed' END AS change,
       w.member,
       w.status,
       w.audit_id,
       w.change_index
  FROM genesys_audit.who_changed_what w
 WHERE lower(w.entity_type) = 'queue';
