-- migrate:up
-- The usage ledger: one row for each request that ended, written in the statement that records its outcome. No reference to
-- `requests`: a bill must be justified after the record it came from has been deleted.
CREATE TABLE usage (
  request_id uuid PRIMARY KEY,
  -- The pipeline whose node it was.
  parent_id uuid,
  owner_id text NOT NULL,
  key_id text NOT NULL,
  endpoint text NOT NULL,
  version text NOT NULL,
  ended_at timestamptz NOT NULL,
  ok boolean NOT NULL,
  -- What is billed, in `unit`; 0 for a request that gave no output.
  units numeric NOT NULL CHECK (units >= 0),
  -- The price as it was at submit.
  unit text NOT NULL,
  unit_price numeric NOT NULL CHECK (unit_price >= 0),
  currency text NOT NULL,
  device_seconds double precision NOT NULL,
  attempts integer NOT NULL,
  -- Attempts that somebody else's fault ended, or that gave nothing: nobody pays for them.
  attempts_uncounted integer NOT NULL
);
CREATE INDEX usage_by_end ON usage (ended_at DESC, request_id DESC);

-- Each comparison of the ledger with Temporal, for a window of time.
CREATE TABLE usage_checks (
  checked_at timestamptz NOT NULL,
  from_at timestamptz NOT NULL,
  until_at timestamptz NOT NULL,
  -- Workflows that Temporal closed within the window.
  workflows integer NOT NULL,
  -- Rows that were missing, and are written now.
  written integer NOT NULL,
  -- What does not agree and nothing was done about: [{"request_id", "says"}], the first hundred.
  differences json NOT NULL,
  PRIMARY KEY (until_at, from_at)
);

-- migrate:down
DROP TABLE usage_checks;
DROP TABLE usage;
