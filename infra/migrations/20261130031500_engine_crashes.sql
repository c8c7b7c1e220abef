-- migrate:up
-- The requests that were on an engine when it crashed, for an hour.
CREATE TABLE engine_crashes (
  crash_id uuid NOT NULL,
  endpoint text NOT NULL,
  version text NOT NULL,
  owner_id text NOT NULL,
  input_digest text NOT NULL,
  request_id text NOT NULL,
  company text NOT NULL CHECK (company IN ('alone', 'owner', 'shared')),
  -- The same input has run to an end since.
  cleared boolean NOT NULL,
  crashed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (endpoint, version, owner_id, crash_id, request_id)
);

-- The last reset of a model: requests that began before it leave no record when they crash after it.
CREATE TABLE engine_amnesties (
  endpoint text NOT NULL,
  version text NOT NULL,
  reset_at timestamptz NOT NULL,
  PRIMARY KEY (endpoint, version)
);

CREATE FUNCTION tell_engine_crashes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('engine_crashes', '');
  RETURN NULL;
END $$;
CREATE TRIGGER engine_crashes_changed AFTER INSERT OR UPDATE OR DELETE ON engine_crashes
  FOR EACH STATEMENT EXECUTE FUNCTION tell_engine_crashes();

-- migrate:down
DROP TABLE engine_crashes;
DROP TABLE engine_amnesties;
DROP FUNCTION tell_engine_crashes;
