-- migrate:up
-- The HTTP status of a request's result: the list of requests filters by it.
ALTER TABLE requests ADD COLUMN status_code smallint;
UPDATE requests SET status_code = CASE WHEN starts_with(outcome::text, '{"ok":true') THEN 200
  ELSE COALESCE((SELECT status FROM (VALUES
    ('input_invalid', 422), ('file_download_error', 422), ('file_too_large', 422), ('generation_timeout', 504),
    ('downstream_service_error', 400), ('request_timeout', 504), ('startup_timeout', 504), ('runner_scheduling_failure', 503),
    ('runner_connection_timeout', 503), ('runner_disconnected', 503), ('runner_connection_refused', 503), ('runner_connection_error', 503),
    ('runner_incomplete_response', 502), ('concurrent_requests_limit', 429), ('client_disconnected', 499), ('client_cancelled', 499),
    ('bad_request', 400)) AS known(code, status) WHERE strpos(outcome::text, '"code":"' || code || '"') > 0 LIMIT 1), 500) END
WHERE outcome IS NOT NULL;

-- The list of requests, newest end first, of all owners and of one: a page is read from an index, for any number.
CREATE INDEX requests_ended ON requests (endpoint, ended_at DESC, request_id DESC) WHERE ended_at IS NOT NULL;
CREATE INDEX requests_ended_by_owner ON requests (owner_id, endpoint, ended_at DESC, request_id DESC) WHERE ended_at IS NOT NULL;
-- Few requests fail: they are found without reading the others.
CREATE INDEX requests_failed ON requests (endpoint, ended_at DESC, request_id DESC) WHERE status_code >= 400;
-- Longest first.
CREATE INDEX requests_longest ON requests (endpoint, (extract(epoch FROM ended_at - COALESCE(started_at, ended_at))) DESC, request_id DESC)
  WHERE ended_at IS NOT NULL;

-- The artifacts that an output names: bytes that another request made as well are not deleted with one of them.
CREATE FUNCTION artifacts_named(outcome json) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY(SELECT DISTINCT (regexp_matches(outcome::text, '/files/[0-9a-f]{2}/([0-9a-f]{64})\.', 'g'))[1])
$$;
CREATE INDEX requests_by_artifact ON requests USING gin (artifacts_named(outcome)) WHERE outcome IS NOT NULL;

-- migrate:down
DROP INDEX requests_by_artifact;
DROP FUNCTION artifacts_named;
DROP INDEX requests_longest;
DROP INDEX requests_failed;
DROP INDEX requests_ended_by_owner;
DROP INDEX requests_ended;
ALTER TABLE requests DROP COLUMN status_code;
