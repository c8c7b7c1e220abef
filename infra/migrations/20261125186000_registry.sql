-- migrate:up
-- The registry: pushed model versions, rollouts between them, and flags.
-- Every row has a revision: a change names the revision that it is based on, and processes compare count and sum
-- of revisions to see whether their cache is current.
CREATE SEQUENCE registry_revisions;

-- Weights, by content: two versions that share a file share its bytes.
CREATE TABLE model_blobs (
  sha256 text PRIMARY KEY CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  object_key text NOT NULL UNIQUE,
  bytes bigint NOT NULL
);

-- Objects of unpublished pushes, recorded before their bytes, so that those of a killed process are found.
CREATE TABLE model_uploads (
  object_key text PRIMARY KEY,
  push_id uuid NOT NULL,
  begun_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_uploads_oldest ON model_uploads (begun_at);

-- `json`, not `jsonb`: schemas are public and keep their order.
CREATE TABLE model_versions (
  endpoint text NOT NULL,
  version text NOT NULL,
  digest text NOT NULL,
  manifest json NOT NULL,
  input_schema json NOT NULL,
  output_schema json NOT NULL,
  state text NOT NULL CHECK (state IN ('enabled', 'disabled', 'removed')),
  pushed_by text NOT NULL,
  pushed_at timestamptz NOT NULL DEFAULT now(),
  changed_at timestamptz NOT NULL DEFAULT now(),
  revision bigint NOT NULL DEFAULT nextval('registry_revisions'),
  PRIMARY KEY (endpoint, version)
);

CREATE TABLE model_files (
  endpoint text NOT NULL,
  version text NOT NULL,
  path text NOT NULL,
  sha256 text NOT NULL REFERENCES model_blobs,
  PRIMARY KEY (endpoint, version, path),
  FOREIGN KEY (endpoint, version) REFERENCES model_versions ON DELETE CASCADE
);
CREATE INDEX model_files_by_content ON model_files (sha256);

-- Immutable once published.
CREATE FUNCTION model_version_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.digest <> OLD.digest OR NEW.manifest::text <> OLD.manifest::text
     OR NEW.input_schema::text <> OLD.input_schema::text OR NEW.output_schema::text <> OLD.output_schema::text
     OR NEW.endpoint <> OLD.endpoint OR NEW.version <> OLD.version THEN
    RAISE EXCEPTION 'model version % % is published and does not change', OLD.endpoint, OLD.version;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER model_version_stays BEFORE UPDATE ON model_versions FOR EACH ROW EXECUTE FUNCTION model_version_stays();

-- A share of the requests of an endpoint goes to a newer version.
CREATE TABLE rollouts (
  rollout_id uuid PRIMARY KEY,
  endpoint text NOT NULL,
  from_version text NOT NULL,
  to_version text NOT NULL,
  share double precision NOT NULL CHECK (share BETWEEN 0 AND 100),
  state text NOT NULL CHECK (state IN ('running', 'promoted', 'rolled_back')),
  -- What is watched, and the margins; null: a person decides.
  rules json,
  reason text,
  started_by text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  changed_at timestamptz NOT NULL DEFAULT now(),
  checked_at timestamptz NOT NULL DEFAULT now(),
  revision bigint NOT NULL DEFAULT nextval('registry_revisions')
);
CREATE UNIQUE INDEX rollouts_one_an_endpoint ON rollouts (endpoint) WHERE state = 'running';

-- Flags, each with its share of owners. A row for one owner overrides the row for all, whose owner is ''.
CREATE TABLE flags (
  kind text NOT NULL CHECK (kind IN ('model', 'workflow', 'behaviour')),
  name text NOT NULL,
  owner_id text NOT NULL DEFAULT '',
  share double precision NOT NULL CHECK (share BETWEEN 0 AND 100),
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT now(),
  revision bigint NOT NULL DEFAULT nextval('registry_revisions'),
  PRIMARY KEY (kind, name, owner_id)
);

CREATE FUNCTION registry_revise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.revision := nextval('registry_revisions');
  NEW.changed_at := now();
  RETURN NEW;
END $$;
CREATE TRIGGER model_versions_revise BEFORE UPDATE ON model_versions FOR EACH ROW EXECUTE FUNCTION registry_revise();
-- The time of the last check does not change the revision.
CREATE TRIGGER rollouts_revise BEFORE UPDATE OF share, state, rules, reason ON rollouts FOR EACH ROW EXECUTE FUNCTION registry_revise();
CREATE TRIGGER flags_revise BEFORE UPDATE ON flags FOR EACH ROW EXECUTE FUNCTION registry_revise();

CREATE FUNCTION registry_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('registry_changed', TG_TABLE_NAME);
  RETURN NULL;
END $$;
CREATE TRIGGER model_versions_announce AFTER INSERT OR UPDATE OR DELETE ON model_versions FOR EACH STATEMENT EXECUTE FUNCTION registry_announce();
CREATE TRIGGER rollouts_announce AFTER INSERT OR UPDATE OF share, state, rules, reason OR DELETE ON rollouts FOR EACH STATEMENT EXECUTE FUNCTION registry_announce();
CREATE TRIGGER flags_announce AFTER INSERT OR UPDATE OR DELETE ON flags FOR EACH STATEMENT EXECUTE FUNCTION registry_announce();

-- migrate:down
DROP TABLE flags;
DROP TABLE rollouts;
DROP TABLE model_files;
DROP TABLE model_versions;
DROP TABLE model_uploads;
DROP TABLE model_blobs;
DROP FUNCTION registry_announce;
DROP FUNCTION registry_revise;
DROP FUNCTION model_version_stays;
DROP SEQUENCE registry_revisions;
