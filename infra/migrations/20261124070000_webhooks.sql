-- migrate:up
-- The keys that sign webhooks. The private half is encrypted (AES-256-GCM) with a secret of the installation.
CREATE TABLE signing_keys (
  key_id text PRIMARY KEY,
  public_key text NOT NULL,
  sealed_private_key bytea NOT NULL,
  created_at timestamptz NOT NULL,
  signs_from timestamptz NOT NULL,
  revoked_at timestamptz
);

-- Deliveries of webhooks, and the attempts of each.
CREATE TABLE deliveries (
  request_id uuid PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
  owner_id text NOT NULL,
  endpoint text NOT NULL,
  url text NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
  round integer NOT NULL,
  attempts integer NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  next_attempt_at timestamptz,
  last_status integer,
  last_error text
);
CREATE INDEX deliveries_newest ON deliveries (created_at DESC, request_id DESC);
CREATE INDEX deliveries_waiting ON deliveries (state, created_at DESC, request_id DESC) WHERE state <> 'delivered';

CREATE TABLE delivery_attempts (
  request_id uuid NOT NULL REFERENCES deliveries ON DELETE CASCADE,
  round integer NOT NULL,
  attempt integer NOT NULL,
  started_at timestamptz NOT NULL,
  duration_ms integer NOT NULL,
  status integer,
  error text,
  PRIMARY KEY (request_id, round, attempt)
);

-- The request that retries a dead letter: named first, then started, so that a crash in between starts no
-- second one.
ALTER TABLE dead_letters ADD COLUMN retried_as uuid, ADD COLUMN retried_at timestamptz;
CREATE INDEX dead_letters_waiting ON dead_letters (created_at DESC, request_id DESC) WHERE retried_at IS NULL;

-- migrate:down
DROP INDEX dead_letters_waiting;
ALTER TABLE dead_letters DROP COLUMN retried_as, DROP COLUMN retried_at;
DROP TABLE delivery_attempts;
DROP TABLE deliveries;
DROP TABLE signing_keys;
