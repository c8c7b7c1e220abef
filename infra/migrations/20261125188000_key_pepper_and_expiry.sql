-- migrate:up
-- `secret_sha256` is the plain SHA-256 of a secret where `pepper_id` is null, else its HMAC-SHA-256 with the pepper of that id.
-- A process of the previous version reads neither column and works with the keys that were not hashed again.
ALTER TABLE keys ADD COLUMN pepper_id text;
ALTER TABLE keys ADD COLUMN expires_at timestamptz;

-- Apart from the keys: a use must not announce a changed key to every gateway.
CREATE TABLE key_uses (
  key_id text PRIMARY KEY REFERENCES keys ON DELETE CASCADE,
  last_used_at timestamptz NOT NULL
);

-- migrate:down
DROP TABLE key_uses;
ALTER TABLE keys DROP COLUMN expires_at;
ALTER TABLE keys DROP COLUMN pepper_id;
