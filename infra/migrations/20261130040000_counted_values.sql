-- migrate:up
-- Values that are stored as objects count for their owners too, in the table of artifacts without a lifecycle.
-- A row whose object is gone would count for ever: each is looked for in the object store a day after it was
-- counted, when no writer can still be on its way, and then once a month.
ALTER TABLE owner_artifacts ADD COLUMN check_after timestamptz NOT NULL DEFAULT now() + interval '1 day';
CREATE INDEX owner_artifacts_check ON owner_artifacts (check_after);

-- migrate:down
DELETE FROM owner_artifacts WHERE object_key NOT LIKE 'artifacts/%';
ALTER TABLE owner_artifacts DROP COLUMN check_after;
