-- migrate:up
-- A node of a pipeline is a request of its own; this is the pipeline's.
ALTER TABLE requests ADD COLUMN pipeline_id uuid;
CREATE INDEX requests_by_pipeline ON requests (pipeline_id, submitted_at) WHERE pipeline_id IS NOT NULL;

-- migrate:down
ALTER TABLE requests DROP COLUMN pipeline_id;
