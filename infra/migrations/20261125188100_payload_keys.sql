-- migrate:up
-- Which keys encrypted what Temporal may still hold. Not the keys: `check_value` tells whether one is the same, and leads to none.
CREATE TABLE payload_keys (
  key_id text PRIMARY KEY,
  check_value text NOT NULL,
  last_encrypted_at timestamptz NOT NULL
);

-- migrate:down
DROP TABLE payload_keys;
