-- migrate:up
-- Status reports of GPU workers. A row is its worker's last report; the worker of a row that is not renewed has died.
CREATE TABLE engines (
  worker text NOT NULL,
  endpoint text NOT NULL,
  version text NOT NULL,
  device text NOT NULL,
  budget_mib integer NOT NULL,
  state text NOT NULL CHECK (state IN ('stopped', 'loading', 'ready', 'out')),
  polled boolean NOT NULL,
  pid integer,
  memory_mib integer,
  running integer NOT NULL,
  waiting integer NOT NULL,
  failures integer NOT NULL,
  last_failure text,
  reported_at timestamptz NOT NULL,
  PRIMARY KEY (worker, endpoint, version)
);

-- Resets that operators requested and the worker has not taken yet.
CREATE TABLE engine_resets (
  worker text NOT NULL,
  endpoint text NOT NULL,
  version text NOT NULL,
  PRIMARY KEY (worker, endpoint, version)
);

CREATE FUNCTION tell_engine_reset() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('engine_resets', NEW.worker);
  RETURN NEW;
END $$;
CREATE TRIGGER engine_reset_asked AFTER INSERT ON engine_resets FOR EACH ROW EXECUTE FUNCTION tell_engine_reset();

-- migrate:down
DROP TABLE engine_resets;
DROP FUNCTION tell_engine_reset;
DROP TABLE engines;
