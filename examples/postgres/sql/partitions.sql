-- One partition a month of UTC: changes_2026_11.

-- create_partitions makes those of the months from the first day's to the last one's that are missing, and returns how
-- many. Rows that the default partition has of these months are moved. It waits for writers of the default partition,
-- and they for it.
CREATE OR REPLACE FUNCTION genesys_audit.create_partitions(first_day date, last_day date) RETURNS integer
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
  month     timestamptz := date_trunc('month', first_day::timestamptz);
  after     timestamptz;
  partition text;
  columns   text;
  created   integer := 0;
BEGIN
  LOCK TABLE genesys_audit.changes_default IN ACCESS EXCLUSIVE MODE; -- or a row could come between moving and attaching
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute
   WHERE attrelid = 'genesys_audit.changes'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
  WHILE month <= last_day::timestamptz LOOP
    after := month + interval '1 month';
    partition := to_char(month, '"changes_"YYYY"_"MM');
    IF to_regclass('genesys_audit.' || partition) IS NULL THEN
      EXECUTE format('CREATE TABLE genesys_audit.%I (LIKE genesys_audit.changes INCLUDING ALL)', partition);
      EXECUTE format('WITH moved AS (DELETE FROM genesys_audit.changes_default WHERE "timestamp" >= %L AND "timestamp" < %L RETURNING *)
                      INSERT INTO genesys_audit.%I (%s) SELECT %s FROM moved', month, after, partition, columns, columns);
      EXECUTE format('ALTER TABLE genesys_audit.changes ATTACH PARTITION genesys_audit.%I FOR VALUES FROM (%L) TO (%L)', partition, month, after);
      created := created + 1;
    END IF;
    month := after;
  END LOOP;
  RETURN created;
END $$;

-- The API holds 365 days (BACKFILL_FROM reaches no further back), and a year is made ahead. Run this every month.
SELECT genesys_audit.create_partitions((now() - interval '366 days')::date, (now() + interval '1 year')::date) \g /dev/null
