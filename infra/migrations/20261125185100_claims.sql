-- migrate:up
-- The first use of each idempotency key. The primary key decides between two gateways at the same instant.
CREATE TABLE claims (
  owner_id text NOT NULL,
  key text NOT NULL,
  request_id uuid NOT NULL,
  fingerprint text NOT NULL,
  -- Another caller relies on it.
  shared boolean NOT NULL DEFAULT false,
  -- What a write was answered, sealed.
  answer bytea,
  claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (owner_id, key)
);
CREATE INDEX claims_expiring ON claims (expires_at);

-- migrate:down
DROP TABLE claims;
