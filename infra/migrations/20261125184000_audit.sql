-- migrate:up
-- Changes through the admin service. A record begins before its change and is settled after it, so that no
-- change lacks one; `json` keeps the values before and after byte for byte.
CREATE TABLE audit (
  audit_id uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  key_id text NOT NULL,
  owner_id text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  -- The id that the answer of the call carries.
  request_id uuid NOT NULL,
  -- `begun`: the process that made the change ended before it could say how that went.
  state text NOT NULL CHECK (state IN ('begun', 'made', 'failed')),
  before json,
  after json,
  error_code text
);
CREATE INDEX audit_newest ON audit (at DESC, audit_id DESC);
CREATE INDEX audit_by_subject ON audit (subject, at DESC, audit_id DESC);
CREATE INDEX audit_by_action ON audit (action, at DESC, audit_id DESC);

-- migrate:down
DROP TABLE audit;
