-- migrate:up
-- What this installation signs with: tokens, upload addresses, signed file addresses. Made by the first process that needs one.
CREATE TABLE secrets (
  name text PRIMARY KEY,
  value bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- migrate:down
DROP TABLE secrets;
