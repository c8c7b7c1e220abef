-- migrate:up
-- Files: uploads, and outputs with a lifecycle. Artifacts without a lifecycle are found by their content alone.
CREATE TABLE files (
  file_id text PRIMARY KEY,
  owner_id text NOT NULL,
  name text NOT NULL,
  content_type text NOT NULL,
  -- How long it is kept and who may read it.
  lifecycle json NOT NULL,
  -- Where the bytes are, or where the writer that claimed the file last is putting them.
  object_key text,
  parts_id text,
  upload_until timestamptz NOT NULL,
  bytes bigint,
  etag text,
  expires_at timestamptz,
  CHECK ((bytes IS NULL) = (etag IS NULL)),
  CHECK (etag IS NULL OR object_key IS NOT NULL)
);
CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX files_unfinished ON files (upload_until) WHERE etag IS NULL;

-- Parts of uploads that are not finished.
CREATE TABLE file_parts (
  file_id text NOT NULL REFERENCES files ON DELETE CASCADE,
  number integer NOT NULL,
  etag text NOT NULL,
  bytes bigint NOT NULL,
  PRIMARY KEY (file_id, number)
);

-- migrate:down
DROP TABLE file_parts;
DROP TABLE files;
