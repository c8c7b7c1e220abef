-- migrate:up
-- The texts of a package as they were signed, and the signature. It may be signed anew, so it may change.
ALTER TABLE model_versions ADD COLUMN signed json;

-- migrate:down
ALTER TABLE model_versions DROP COLUMN signed;
