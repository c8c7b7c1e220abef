-- migrate:up
-- The spending of an owner in this day and month is read during its calls.
CREATE INDEX usage_by_owner ON usage (owner_id, ended_at DESC) INCLUDE (units, unit_price);

-- migrate:down
DROP INDEX usage_by_owner;
