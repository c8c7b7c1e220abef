-- migrate:up
-- Grows with each change of a file's access list: a change that is based on an old one is refused.
ALTER TABLE files ADD COLUMN revision integer NOT NULL DEFAULT 1;

-- Defaults of an owner's new files: their lifetime and their readers.
CREATE TABLE storage_defaults (
  owner_id text PRIMARY KEY,
  lifecycle json NOT NULL,
  revision integer NOT NULL
);
CREATE FUNCTION storage_defaults_announce() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('storage_defaults_changed', COALESCE(NEW.owner_id, OLD.owner_id));
  RETURN NULL;
END $$;
CREATE TRIGGER storage_defaults_announce AFTER INSERT OR UPDATE OR DELETE ON storage_defaults
  FOR EACH ROW EXECUTE FUNCTION storage_defaults_announce();

-- migrate:down
DROP TABLE storage_defaults;
DROP FUNCTION storage_defaults_announce;
ALTER TABLE files DROP COLUMN revision;
