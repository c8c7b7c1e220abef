-- migrate:up
-- The keys of callers. Only the SHA-256 of a secret is stored.
CREATE TABLE keys (
  key_id text PRIMARY KEY,
  owner_id text NOT NULL,
  alias text NOT NULL,
  scope text NOT NULL CHECK (scope IN ('API', 'ADMIN')),
  secret_sha256 text NOT NULL,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX keys_by_owner ON keys (owner_id);

-- Gateways cache keys; this notifies them at once of every change.
CREATE FUNCTION keys_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('keys_changed', COALESCE(NEW.key_id, OLD.key_id));
  RETURN NULL;
END
$$;
CREATE TRIGGER keys_announce AFTER INSERT OR UPDATE OR DELETE ON keys FOR EACH ROW EXECUTE FUNCTION keys_announce();

-- migrate:down
DROP TABLE keys;
DROP FUNCTION keys_announce();
