-- migrate:up
-- What an owner has spent this day and this month is asked for while it calls.
CREATE INDEX usage_by_owner ON usage (owner_id, ended_at DESC) INCLUDE (units, unit_price);

-- migrate:down
DROP INDEX usage_by_owner;
