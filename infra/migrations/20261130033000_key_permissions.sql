-- migrate:up
-- What a key may do, where that is less than its scope allows; null: all that its scope allows.
-- A process of the previous version does not read it: narrow keys when every gateway has this version.
ALTER TABLE keys ADD COLUMN permissions jsonb;

-- migrate:down
ALTER TABLE keys DROP COLUMN permissions;
