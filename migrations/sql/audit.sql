-- The audit log's chain (chapter 3, 3.4). Writing an entry never queues: a job seals what is committed, in batches, giving
-- each entry of an organisation the next number and a hash over its predecessor's hash and its own content.

-- What is hashed: a JSON array in this order, so that anybody can compute it again.
CREATE OR REPLACE FUNCTION audit_canonical(l org_audit_log) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_build_array(l.seq, l.organization_id, l.public_id, l.category, l.action, l.description, l.details,
           l.actor_type, l.actor_membership_id, l.actor_user_id, l.target_membership_id, l.target_type, l.target_id,
           host(l.ip), l.correlation_id, (extract(epoch FROM l.created_at) * 1000000)::bigint)::text
$$;

CREATE OR REPLACE FUNCTION audit_hash(p_prev text, l org_audit_log) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT encode(sha256(convert_to(p_prev || audit_canonical(l), 'UTF8')), 'hex')
$$;

-- Entries stay as they were written; the seal is the one thing that may be added, once.
CREATE OR REPLACE FUNCTION audit_seal_once() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE seal CONSTANT text[] := ARRAY['seq', 'prev_hash', 'row_hash'];
BEGIN
  IF OLD.seq IS NULL AND NEW.seq IS NOT NULL AND to_jsonb(NEW) - seal = to_jsonb(OLD) - seal THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION '% on % is refused: its history is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'CL002';
END $$;

-- Seals at most p_limit waiting entries of every organisation that has some; returns how many. Two at once wait for each
-- other at the organisation's chain, so that no number is given twice.
CREATE OR REPLACE FUNCTION audit_seal(p_limit int, p_at timestamptz) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE org bigint; head bigint; hash text; before text; entry org_audit_log; sealed int := 0;
BEGIN
  FOR org IN SELECT DISTINCT organization_id FROM org_audit_log WHERE seq IS NULL ORDER BY 1 LOOP
    INSERT INTO audit_chain (organization_id, sealed_at) VALUES (org, p_at) ON CONFLICT DO NOTHING;
    SELECT c.seq, c.row_hash INTO head, hash FROM audit_chain c WHERE c.organization_id = org FOR UPDATE;
    FOR entry IN SELECT * FROM org_audit_log WHERE organization_id = org AND seq IS NULL ORDER BY id LIMIT p_limit LOOP
      head := head + 1;
      entry.seq := head;
      before := hash;
      hash := audit_hash(before, entry);
      UPDATE org_audit_log SET seq = head, prev_hash = before, row_hash = hash WHERE id = entry.id;
      sealed := sealed + 1;
    END LOOP;
    UPDATE audit_chain SET seq = head, row_hash = hash, sealed_at = p_at WHERE organization_id = org;
  END LOOP;
  RETURN sealed;
END $$;

-- Compares an organisation's sealed entries with their hashes, each other and the chain's head, as far as the caller may
-- read them. first_bad_seq is NULL when all agree.
CREATE OR REPLACE FUNCTION audit_verify(p_org bigint)
RETURNS TABLE (checked bigint, first_bad_seq bigint, unsealed bigint)
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
  WITH entry AS (
    SELECT l.seq, l.prev_hash, l.row_hash, audit_hash(l.prev_hash, l) = l.row_hash AS own,
           lag(l.row_hash, 1, repeat('0', 64)) OVER w AS hash_before, lag(l.seq, 1, 0::bigint) OVER w AS seq_before
      FROM org_audit_log l WHERE l.organization_id = p_org AND l.seq IS NOT NULL WINDOW w AS (ORDER BY l.seq)
  ), last AS (
    SELECT seq, row_hash FROM entry ORDER BY seq DESC LIMIT 1
  ), head AS (
    SELECT (SELECT c.seq FROM audit_chain c WHERE c.organization_id = p_org) AS seq,
           (SELECT c.row_hash FROM audit_chain c WHERE c.organization_id = p_org) AS row_hash
  ), bad AS (
    SELECT seq FROM entry WHERE own IS NOT TRUE OR seq <> seq_before + 1 OR prev_hash IS DISTINCT FROM hash_before
    UNION ALL
    SELECT coalesce(l.seq, 0) + 1 FROM head h LEFT JOIN last l ON true WHERE coalesce(h.seq, 0) > coalesce(l.seq, 0)
    UNION ALL
    SELECT l.seq FROM head h JOIN last l ON true
     WHERE coalesce(h.seq, 0) < l.seq OR (h.seq = l.seq AND h.row_hash <> l.row_hash)
  )
  SELECT (SELECT count(*) FROM entry), (SELECT min(seq) FROM bad),
         (SELECT count(*) FROM org_audit_log l WHERE l.organization_id = p_org AND l.seq IS NULL)
$$;
