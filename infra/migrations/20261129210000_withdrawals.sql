-- migrate:up
-- Jobs and sessions whose start was answered with an error although Temporal may have accepted it, until they
-- are known to be ended.
CREATE TABLE withdrawals (
  request_id uuid PRIMARY KEY,
  -- The identity of the request; absent for a session.
  request jsonb,
  -- Since when Temporal has been asked and does not know it.
  unknown_at timestamptz
);

-- migrate:down
DROP TABLE withdrawals;
