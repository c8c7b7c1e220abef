-- migrate:up
-- The request whose dead letter this one tries again: a redelivery says so as the first delivery did.
ALTER TABLE deliveries ADD COLUMN retry_of uuid;

-- migrate:down
ALTER TABLE deliveries DROP COLUMN retry_of;
