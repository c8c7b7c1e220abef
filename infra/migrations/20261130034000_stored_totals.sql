-- migrate:up
-- What each owner has stored, in bytes and files, within `storedBytes` and `storedFiles` of its limits.
-- Counted by triggers, so that every writer counts, and exactly: the owner's row is locked until the commit.
CREATE TABLE stored_totals (
  owner_id text PRIMARY KEY,
  bytes bigint NOT NULL,
  files bigint NOT NULL
);

-- Bytes that are on their way to a file that is not stored yet; they count like stored ones.
ALTER TABLE files ADD COLUMN announced_bytes bigint;

-- Artifacts without a lifecycle are found by their content and have no record in `files`. Each counts once for
-- each owner that made it.
CREATE TABLE owner_artifacts (
  object_key text,
  owner_id text,
  bytes bigint NOT NULL,
  PRIMARY KEY (object_key, owner_id)
);

-- Adds to an owner's total. Fails with TS001 when there is more than before and more than the owner may have;
-- the detail has what was stored before, the limit, and what was to be added.
CREATE FUNCTION add_stored(owner text, more_bytes bigint, more_files bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  total stored_totals;
  allowed jsonb;
BEGIN
  IF more_bytes = 0 AND more_files = 0 THEN RETURN; END IF;
  INSERT INTO stored_totals AS t (owner_id, bytes, files) VALUES (owner, more_bytes, more_files)
  ON CONFLICT (owner_id) DO UPDATE SET bytes = t.bytes + excluded.bytes, files = t.files + excluded.files
  RETURNING t.* INTO total;
  IF more_bytes <= 0 AND more_files <= 0 THEN RETURN; END IF;
  allowed := allowance_of(owner);
  IF more_bytes > 0 AND total.bytes > (allowed ->> 'storedBytes')::numeric THEN
    RAISE EXCEPTION 'the owner has no bytes left' USING ERRCODE = 'TS001', DETAIL =
      json_build_object('unit', 'bytes', 'used', total.bytes - more_bytes, 'limit', allowed -> 'storedBytes',
                        'more', more_bytes);
  END IF;
  IF more_files > 0 AND total.files > (allowed ->> 'storedFiles')::numeric THEN
    RAISE EXCEPTION 'the owner has no files left' USING ERRCODE = 'TS001', DETAIL =
      json_build_object('unit', 'files', 'used', total.files - more_files, 'limit', allowed -> 'storedFiles',
                        'more', more_files);
  END IF;
END
$$;

-- Owners in order: two statements that change the files of several owners never wait for each other.
CREATE FUNCTION count_added_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM add_stored(owner_id, bytes, files) FROM (
    SELECT owner_id, sum(COALESCE(bytes, announced_bytes, 0))::bigint AS bytes, count(*) AS files
    FROM added GROUP BY owner_id ORDER BY owner_id) each;
  RETURN NULL;
END
$$;
CREATE FUNCTION count_removed_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM add_stored(owner_id, -bytes, -files) FROM (
    SELECT owner_id, sum(COALESCE(bytes, announced_bytes, 0))::bigint AS bytes, count(*) AS files
    FROM removed GROUP BY owner_id ORDER BY owner_id) each;
  RETURN NULL;
END
$$;
CREATE FUNCTION count_changed_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM add_stored(owner_id, bytes, 0) FROM (
    SELECT owner_id, sum(bytes)::bigint AS bytes FROM (
      SELECT owner_id, COALESCE(bytes, announced_bytes, 0) AS bytes FROM added
      UNION ALL SELECT owner_id, -COALESCE(bytes, announced_bytes, 0) FROM removed) both_ways
    GROUP BY owner_id ORDER BY owner_id) each;
  RETURN NULL;
END
$$;
CREATE TRIGGER files_added AFTER INSERT ON files REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION count_added_files();
CREATE TRIGGER files_removed AFTER DELETE ON files REFERENCING OLD TABLE AS removed
  FOR EACH STATEMENT EXECUTE FUNCTION count_removed_files();
CREATE TRIGGER files_changed AFTER UPDATE ON files REFERENCING NEW TABLE AS added OLD TABLE AS removed
  FOR EACH STATEMENT EXECUTE FUNCTION count_changed_files();

CREATE FUNCTION count_added_artifacts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM add_stored(owner_id, bytes, files) FROM (
    SELECT owner_id, sum(bytes)::bigint AS bytes, count(*) AS files FROM added
    GROUP BY owner_id ORDER BY owner_id) each;
  RETURN NULL;
END
$$;
CREATE FUNCTION count_removed_artifacts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM add_stored(owner_id, -bytes, -files) FROM (
    SELECT owner_id, sum(bytes)::bigint AS bytes, count(*) AS files FROM removed
    GROUP BY owner_id ORDER BY owner_id) each;
  RETURN NULL;
END
$$;
CREATE TRIGGER artifacts_added AFTER INSERT ON owner_artifacts REFERENCING NEW TABLE AS added
  FOR EACH STATEMENT EXECUTE FUNCTION count_added_artifacts();
CREATE TRIGGER artifacts_removed AFTER DELETE ON owner_artifacts REFERENCING OLD TABLE AS removed
  FOR EACH STATEMENT EXECUTE FUNCTION count_removed_artifacts();

INSERT INTO stored_totals
SELECT owner_id, sum(COALESCE(bytes, 0)), count(*) FROM files GROUP BY owner_id;

-- Safe defaults: what an operator has set stays.
UPDATE plans SET allowance = '{"storedBytes": 53687091200, "storedFiles": 100000}' || allowance
WHERE plan_id = 'default';

-- migrate:down
UPDATE plans SET allowance = allowance - 'storedBytes' - 'storedFiles' WHERE plan_id = 'default';
DROP TRIGGER files_added ON files;
DROP TRIGGER files_removed ON files;
DROP TRIGGER files_changed ON files;
DROP TABLE owner_artifacts;
DROP FUNCTION count_added_files();
DROP FUNCTION count_removed_files();
DROP FUNCTION count_changed_files();
DROP FUNCTION count_added_artifacts();
DROP FUNCTION count_removed_artifacts();
DROP FUNCTION add_stored(text, bigint, bigint);
ALTER TABLE files DROP COLUMN announced_bytes;
DROP TABLE stored_totals;
