-- migrate:up
-- Secrets that sign tokens, upload addresses and file addresses. The first process that needs one creates it.
CREATE TABLE secrets (
  name text PRIMARY KEY,
  value bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- migrate:down
DROP TABLE secrets;
