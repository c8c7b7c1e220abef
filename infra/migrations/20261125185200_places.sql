-- migrate:up
-- Concurrency slots ("places"): requests of limited owners that run or wait. `taken_at` is set when the request has
-- a slot; without it the request waits, in the order of `turn`.
CREATE TABLE places (
  request_id uuid PRIMARY KEY,
  owner_id text NOT NULL,
  priority integer NOT NULL,
  turn bigint GENERATED ALWAYS AS IDENTITY,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  taken_at timestamptz,
  told boolean NOT NULL DEFAULT false
);
CREATE INDEX places_line ON places (owner_id, priority, turn) WHERE taken_at IS NULL;
CREATE INDEX places_taken ON places (owner_id) WHERE taken_at IS NOT NULL;
CREATE INDEX places_untold ON places (taken_at) WHERE taken_at IS NOT NULL AND NOT told;
CREATE UNIQUE INDEX places_by_turn ON places (turn);

-- Grants free slots to the first waiting requests. Calls for the same owner run one after the other.
CREATE FUNCTION grant_places(owner text) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
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

-- Acquires a slot or joins the queue; a caller that does not wait leaves nothing behind. Returns the requests that
-- have a slot by this: the caller, if it has one, and others that were granted.
CREATE FUNCTION enter_place(request uuid, owner text, prio integer, waits boolean) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tempera places'), hashtext(owner));
  INSERT INTO places (request_id, owner_id, priority) VALUES (request, owner, prio) ON CONFLICT (request_id) DO NOTHING;
  RETURN QUERY SELECT granted FROM grant_places(owner) granted WHERE granted <> request;
  UPDATE places SET told = true WHERE request_id = request AND taken_at IS NOT NULL;
  IF FOUND THEN
    RETURN NEXT request;
  ELSIF NOT waits THEN
    DELETE FROM places WHERE request_id = request;
  END IF;
END
$$;

-- Releases a slot, or leaves the queue. Returns the requests that were granted a slot by this.
CREATE FUNCTION leave_place(request uuid, owner text) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('tempera places'), hashtext(owner));
  DELETE FROM places WHERE request_id = request;
  RETURN QUERY SELECT grant_places(owner);
END
$$;

-- migrate:down
DROP FUNCTION leave_place(uuid, text);
DROP FUNCTION enter_place(uuid, text, integer, boolean);
DROP FUNCTION grant_places(text);
DROP TABLE places;
