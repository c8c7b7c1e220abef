-- migrate:up
-- The nodes of pipelines are requests of their own, under that of their pipeline.
ALTER TABLE requests ADD COLUMN parent_id uuid, ADD COLUMN node_id text;
CREATE INDEX requests_parent ON requests (parent_id) WHERE parent_id IS NOT NULL;

-- migrate:down
DROP INDEX requests_parent;
ALTER TABLE requests DROP COLUMN parent_id, DROP COLUMN node_id;
