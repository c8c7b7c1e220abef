-- migrate:up
-- Models of which a GPU worker takes no new requests until an operator ends the drain; `*` is all models, future
-- ones included.
CREATE TABLE engine_drains (
  worker text NOT NULL,
  endpoint text NOT NULL,
  version text NOT NULL,
  PRIMARY KEY (worker, endpoint, version)
);

CREATE FUNCTION tell_engine_drain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('engine_resets', COALESCE(NEW.worker, OLD.worker));
  RETURN NULL;
END $$;
CREATE TRIGGER engine_drain_changed AFTER INSERT OR DELETE ON engine_drains FOR EACH ROW EXECUTE FUNCTION tell_engine_drain();

-- migrate:down
DROP TABLE engine_drains;
DROP FUNCTION tell_engine_drain;
