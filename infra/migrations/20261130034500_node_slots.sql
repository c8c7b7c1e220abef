-- migrate:up
-- Nodes of pipelines take concurrency slots too. A node is no workflow of its own: `workflow_id` is its
-- pipeline, which is notified in its place; null for a request, whose id is its workflow's.
ALTER TABLE places ADD COLUMN workflow_id uuid;

-- As `grant_places`, `enter_place` and `leave_place`, with the workflows to be notified.
CREATE FUNCTION grant_slots(owner text) RETURNS TABLE (request_id uuid, workflow_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  allowed numeric := (allowance_of(owner) ->> 'inProgress')::numeric;
  free bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tempera places'), hashtext(owner));
  free := allowed - (SELECT count(*) FROM places WHERE owner_id = owner AND taken_at IS NOT NULL);
  RETURN QUERY
    UPDATE places SET taken_at = clock_timestamp(), told = false
    WHERE request_id IN (
      SELECT request_id FROM places WHERE owner_id = owner AND taken_at IS NULL
      ORDER BY priority, turn LIMIT CASE WHEN allowed IS NULL THEN NULL ELSE greatest(free, 0) END
    ) RETURNING places.request_id, places.workflow_id;
END
$$;

CREATE FUNCTION acquire_slot(request uuid, owner text, prio integer, waits boolean, workflow uuid)
RETURNS TABLE (request_id uuid, workflow_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tempera places'), hashtext(owner));
  INSERT INTO places (request_id, owner_id, priority, workflow_id) VALUES (request, owner, prio, workflow)
  ON CONFLICT (request_id) DO NOTHING;
  RETURN QUERY SELECT granted.request_id, granted.workflow_id FROM grant_slots(owner) granted
    WHERE granted.request_id <> request;
  UPDATE places SET told = true WHERE request_id = request AND taken_at IS NOT NULL;
  IF FOUND THEN
    RETURN QUERY SELECT request, workflow;
  ELSIF NOT waits THEN
    DELETE FROM places WHERE request_id = request;
  END IF;
END
$$;

CREATE FUNCTION release_slot(request uuid, owner text)
RETURNS TABLE (request_id uuid, workflow_id uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tempera places'), hashtext(owner));
  DELETE FROM places WHERE request_id = request;
  RETURN QUERY SELECT granted.request_id, granted.workflow_id FROM grant_slots(owner) granted;
END
$$;

-- Processes of the release before do not know nodes, and leave them to those of this one.
CREATE OR REPLACE FUNCTION grant_places(owner text) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
  allowed numeric := (allowance_of(owner) ->> 'inProgress')::numeric;
  free bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tempera places'), hashtext(owner));
  free := allowed - (SELECT count(*) FROM places WHERE owner_id = owner AND taken_at IS NOT NULL);
  RETURN QUERY
    UPDATE places SET taken_at = clock_timestamp(), told = false
    WHERE request_id IN (
      SELECT request_id FROM places WHERE owner_id = owner AND taken_at IS NULL AND workflow_id IS NULL
      ORDER BY priority, turn LIMIT CASE WHEN allowed IS NULL THEN NULL ELSE greatest(free, 0) END
    ) RETURNING request_id;
END
$$;

-- migrate:down
DROP FUNCTION release_slot(uuid, text);
DROP FUNCTION acquire_slot(uuid, text, integer, boolean, uuid);
DROP FUNCTION grant_slots(text);
DELETE FROM places WHERE workflow_id IS NOT NULL;
CREATE OR REPLACE FUNCTION grant_places(owner text) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
  allowed numeric := (allowance_of(owner) ->> 'inProgress')::numeric;
  free bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tempera places'), hashtext(owner));
  free := allowed - (SELECT count(*) FROM places WHERE owner_id = owner AND taken_at IS NOT NULL);
  RETURN QUERY
    UPDATE places SET taken_at = clock_timestamp(), told = false
    WHERE request_id IN (
      SELECT request_id FROM places WHERE owner_id = owner AND taken_at IS NULL
      ORDER BY priority, turn LIMIT CASE WHEN allowed IS NULL THEN NULL ELSE greatest(free, 0) END
    ) RETURNING request_id;
END
$$;
ALTER TABLE places DROP COLUMN workflow_id;
