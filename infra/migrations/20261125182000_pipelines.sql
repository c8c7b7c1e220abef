-- migrate:up
-- Saved pipelines, by owner and name. A removed one keeps its row, so that its version count continues when the name
-- is used again.
CREATE TABLE pipelines (
  owner_id text NOT NULL,
  name text NOT NULL,
  title text NOT NULL,
  is_public boolean NOT NULL,
  description text,
  thumbnail_url text,
  tags text[] NOT NULL DEFAULT '{}',
  version integer NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  removed_at timestamptz,
  PRIMARY KEY (owner_id, name)
);
CREATE INDEX pipelines_newest ON pipelines (owner_id, created_at DESC, name) WHERE removed_at IS NULL;

-- The versions of pipelines: the definition as it was written, and as it runs. Immutable.
CREATE TABLE pipeline_versions (
  owner_id text NOT NULL,
  name text NOT NULL,
  version integer NOT NULL,
  contents json NOT NULL,
  compiled json NOT NULL,
  calls text[] NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (owner_id, name, version),
  FOREIGN KEY (owner_id, name) REFERENCES pipelines
);

-- Gateways cache pipelines; this notifies them at once of every change.
CREATE FUNCTION pipelines_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('pipelines_changed', COALESCE(NEW.name, OLD.name) || '/' || COALESCE(NEW.owner_id, OLD.owner_id));
  RETURN NULL;
END
$$;
CREATE TRIGGER pipelines_announce AFTER INSERT OR UPDATE OR DELETE ON pipelines FOR EACH ROW EXECUTE FUNCTION pipelines_announce();

-- migrate:down
DROP TABLE pipeline_versions;
DROP TABLE pipelines;
DROP FUNCTION pipelines_announce();
