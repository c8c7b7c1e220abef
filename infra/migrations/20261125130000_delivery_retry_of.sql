-- migrate:up
-- The request whose dead letter this one retries; a redelivery names it as the first delivery did.
ALTER TABLE deliveries ADD COLUMN retry_of uuid;

-- migrate:down
ALTER TABLE deliveries DROP COLUMN retry_of;
