-- migrate:up
-- The searchable record of a request. `json`, not `jsonb`: inputs and outputs are returned byte for byte,
-- with escaped NULs, key order and long numbers, none of which jsonb keeps.
CREATE TABLE requests (
  request_id uuid PRIMARY KEY,
  owner_id text NOT NULL,
  key_id text NOT NULL,
  endpoint text NOT NULL,
  version text NOT NULL,
  task_queue text NOT NULL,
  priority text NOT NULL CHECK (priority IN ('normal', 'low')),
  -- Everything its workflow was started with, so that a dead letter can be started again.
  job json NOT NULL,
  submitted_at timestamptz NOT NULL,
  started_at timestamptz,
  ended_at timestamptz,
  attempts integer NOT NULL DEFAULT 0,
  outcome json,
  logs json NOT NULL DEFAULT '[]',
  CHECK ((outcome IS NULL) = (ended_at IS NULL))
);
CREATE INDEX requests_by_owner ON requests (owner_id, submitted_at DESC);
CREATE INDEX requests_by_endpoint ON requests (endpoint, submitted_at DESC);
CREATE INDEX requests_unfinished ON requests (submitted_at) WHERE outcome IS NULL;

-- Jobs that used up their attempts and wait for a person.
CREATE TABLE dead_letters (
  request_id uuid PRIMARY KEY REFERENCES requests ON DELETE CASCADE,
  reason text NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE INDEX dead_letters_newest ON dead_letters (created_at DESC);

-- migrate:down
DROP TABLE dead_letters;
DROP TABLE requests;
