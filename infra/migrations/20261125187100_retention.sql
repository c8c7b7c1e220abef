-- migrate:up
-- Keys in the object store that a record names: bytes are deleted when no record names them. Stored beside the JSON,
-- which PostgreSQL cannot read when a caller's text has an escaped NUL in it.
ALTER TABLE requests
  ADD COLUMN refs text[] NOT NULL DEFAULT '{}',
  -- Set when input and output were taken out of the record.
  ADD COLUMN payloads_deleted_at timestamptz;
UPDATE requests SET refs = array_remove(ARRAY[
  CASE WHEN strpos(job::text, '"input":{"ref":"inputs/' || request_id || '.json"}') > 0 THEN 'inputs/' || request_id || '.json' END,
  CASE WHEN starts_with(outcome::text, '{"ok":true,"output":{"ref":"outcomes/' || request_id || '.json"}') THEN 'outcomes/' || request_id || '.json' END
], NULL);
CREATE INDEX requests_refs ON requests USING gin (refs) WHERE refs <> '{}';
CREATE INDEX requests_with_payloads ON requests (owner_id, submitted_at) WHERE payloads_deleted_at IS NULL AND ended_at IS NOT NULL;

-- Retention times of an owner in place of the installation's, in seconds; null is for ever:
-- {"requestSeconds": 3600, "payloadSeconds": null}.
CREATE TABLE owner_retention (
  owner_id text PRIMARY KEY,
  times json NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION owner_retention_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('owner_retention_changed', COALESCE(NEW.owner_id, OLD.owner_id));
  RETURN NULL;
END $$;
CREATE TRIGGER owner_retention_announce AFTER INSERT OR UPDATE OR DELETE ON owner_retention
  FOR EACH ROW EXECUTE FUNCTION owner_retention_announce();

-- Counts of deleted items, by kind and day.
CREATE TABLE retention_totals (
  kind text NOT NULL,
  day date NOT NULL,
  items bigint NOT NULL,
  PRIMARY KEY (kind, day)
);

-- migrate:down
DROP TABLE retention_totals;
DROP TABLE owner_retention;
DROP FUNCTION owner_retention_announce;
DROP INDEX requests_with_payloads;
DROP INDEX requests_refs;
ALTER TABLE requests DROP COLUMN payloads_deleted_at, DROP COLUMN refs;
