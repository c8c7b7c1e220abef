-- migrate:up
-- Results of pipelines' nodes, by all that determines them (core/pipelines/node-key.ts). A row without an output is
-- a claim: one request makes the result, and others wait. Unlogged, since it is written twice for each node and a
-- killed server loses only the reuse.
CREATE UNLOGGED TABLE node_results (
  key text PRIMARY KEY,
  owner_id text NOT NULL,
  endpoint text NOT NULL,
  version text NOT NULL,
  -- The node's request that makes the result, or has made it.
  request_id uuid NOT NULL,
  claimed_until timestamptz,
  -- Somebody waits for the claim's end.
  awaited boolean NOT NULL DEFAULT false,
  output json,
  -- Addresses of the files that were made with it.
  files text[] NOT NULL DEFAULT '{}',
  expires_at timestamptz,
  CHECK ((output IS NULL) = (expires_at IS NULL)),
  CHECK ((output IS NULL) <> (claimed_until IS NULL))
);
CREATE INDEX node_results_expiring ON node_results (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX node_results_made_by ON node_results (request_id);
CREATE INDEX node_results_claimed ON node_results (claimed_until) WHERE claimed_until IS NOT NULL;

-- Notifies of the end of a claim that somebody waits for. Mostly nobody does, and a notification is expensive.
CREATE FUNCTION node_result_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('node_results_settled', OLD.key);
  RETURN NULL;
END $$;
CREATE TRIGGER node_result_made AFTER UPDATE ON node_results FOR EACH ROW
  WHEN (OLD.awaited AND OLD.output IS NULL AND NEW.output IS NOT NULL) EXECUTE FUNCTION node_result_settled();
CREATE TRIGGER node_result_released AFTER DELETE ON node_results FOR EACH ROW
  WHEN (OLD.awaited AND OLD.output IS NULL) EXECUTE FUNCTION node_result_settled();

-- migrate:down
DROP TABLE node_results;
DROP FUNCTION node_result_settled();
