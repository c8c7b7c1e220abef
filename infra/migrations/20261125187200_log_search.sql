-- migrate:up
-- The words of a request's log lines, for the search; null without lines. One value per request, not per
-- line: requests without lines cost nothing, and deleting a request deletes no further rows.
ALTER TABLE requests ADD COLUMN log_words tsvector;
CREATE INDEX requests_log_words ON requests USING gin (log_words) WHERE log_words IS NOT NULL;
-- For the search's order, the newest request first, and for the lines of one owner.
CREATE INDEX requests_logged ON requests (submitted_at DESC, request_id DESC) WHERE log_words IS NOT NULL;
CREATE INDEX requests_logged_by_owner ON requests (owner_id, submitted_at DESC, request_id DESC) WHERE log_words IS NOT NULL;
UPDATE requests SET log_words = to_tsvector('simple', left(logs::text, 100000)) WHERE logs::text <> '[]';

-- migrate:down
DROP INDEX requests_logged_by_owner;
DROP INDEX requests_logged;
DROP INDEX requests_log_words;
ALTER TABLE requests DROP COLUMN log_words;
