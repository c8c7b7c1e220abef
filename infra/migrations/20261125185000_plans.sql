-- migrate:up
-- Limits of owners and keys: named plans, the plan of each owner, and exceptions. Fields: src/core/owners/plan.ts.
CREATE TABLE plans (
  plan_id text PRIMARY KEY,
  allowance jsonb NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO plans (plan_id, allowance) VALUES ('default', '{}');

CREATE TABLE owners (
  owner_id text PRIMARY KEY,
  plan_id text NOT NULL DEFAULT 'default' REFERENCES plans,
  allowance jsonb NOT NULL DEFAULT '{}',
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX owners_by_plan ON owners (plan_id);

CREATE TABLE key_allowances (
  key_id text PRIMARY KEY REFERENCES keys ON DELETE CASCADE,
  allowance jsonb NOT NULL
);

-- Returns the limits that apply to an owner now.
CREATE FUNCTION allowance_of(owner text) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT plans.allowance || COALESCE(owners.allowance, '{}')
  FROM (SELECT owner AS owner_id) asked LEFT JOIN owners USING (owner_id)
  JOIN plans ON plans.plan_id = COALESCE(owners.plan_id, 'default')
$$;

-- Gateways cache limits; this notifies them at once of every change.
CREATE FUNCTION plans_announce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  changed jsonb := to_jsonb(COALESCE(NEW, OLD));
BEGIN
  PERFORM pg_notify('plans_changed', TG_ARGV[0] || ':' || (changed ->> TG_ARGV[1]));
  RETURN NULL;
END
$$;
CREATE TRIGGER plans_announce AFTER INSERT OR UPDATE OR DELETE ON plans
  FOR EACH ROW EXECUTE FUNCTION plans_announce('plan', 'plan_id');
CREATE TRIGGER plans_announce AFTER INSERT OR UPDATE OR DELETE ON owners
  FOR EACH ROW EXECUTE FUNCTION plans_announce('owner', 'owner_id');
CREATE TRIGGER plans_announce AFTER INSERT OR UPDATE OR DELETE ON key_allowances
  FOR EACH ROW EXECUTE FUNCTION plans_announce('key', 'key_id');

-- Counts an owner's waiting and running requests.
CREATE INDEX requests_unfinished_by_owner ON requests (owner_id) WHERE outcome IS NULL;

-- migrate:down
DROP INDEX requests_unfinished_by_owner;
DROP TABLE key_allowances;
DROP TABLE owners;
DROP TABLE plans;
DROP FUNCTION plans_announce();
DROP FUNCTION allowance_of(text);
