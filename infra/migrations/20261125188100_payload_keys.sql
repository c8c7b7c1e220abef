-- migrate:up
-- The ids of keys that encrypted what Temporal may still hold. `check_value` identifies a key and does not reveal it.
CREATE TABLE payload_keys (
  key_id text PRIMARY KEY,
  check_value text NOT NULL,
  last_encrypted_at timestamptz NOT NULL
);

-- migrate:down
DROP TABLE payload_keys;
