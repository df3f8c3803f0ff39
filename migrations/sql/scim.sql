-- SCIM (chapter 3, 3.2): who a directory's token is, and what a membership remembers for directories.

-- The token of this hash and its organisation, in one round trip, with the transaction's settings. A dead token is
-- answered too, so that its use can be written down: at most once an hour, which p "note" says.
-- last_used_at moves every five minutes at most, and never waits for another request that is moving it.
CREATE OR REPLACE FUNCTION identify_scim_token(p_hash text, p_id text, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  t scim_token;
  o organization;
  state text;
  note boolean := false;
BEGIN
  IF p_hash <> '' THEN
    SELECT * INTO t FROM scim_token WHERE token_hash = p_hash;
  ELSE
    SELECT * INTO t FROM scim_token WHERE public_id::text = p_id;
  END IF;
  IF t.id IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO o FROM organization WHERE id = t.organization_id;
  state := CASE WHEN t.status = 'REVOKED' THEN 'REVOKED' WHEN t.expires_at <= p_now THEN 'EXPIRED' ELSE 'ACTIVE' END;
  IF state <> 'ACTIVE' THEN
    UPDATE scim_token SET misuse_noted_at = p_now
     WHERE id = t.id AND (misuse_noted_at IS NULL OR misuse_noted_at <= p_now - interval '1 hour');
    note := FOUND;
  ELSIF t.last_used_at IS NULL OR t.last_used_at < p_now - interval '5 minutes' THEN
    UPDATE scim_token SET last_used_at = p_now
     WHERE id = (SELECT id FROM scim_token WHERE id = t.id FOR NO KEY UPDATE SKIP LOCKED);
  END IF;
  PERFORM set_config('app.user_id', '', true), set_config('app.scope', 'org', true),
          set_config('app.org_id', t.organization_id::text, true), set_config('app.token', '', true);
  RETURN jsonb_build_object('id', t.id, 'public_id', t.public_id, 'label', t.label, 'hash', t.token_hash,
    'state', state, 'note', note, 'duplicate_policy', t.duplicate_policy, 'rate', t.rate_limit_per_minute,
    'organization_id', o.id, 'organization', o.public_id, 'slug', o.slug, 'name', o.name, 'status', o.status);
END $$;

-- meta.lastModified of a User, and: who is ACTIVE again is visible to directories again. Runs after membership_keys.
CREATE OR REPLACE FUNCTION membership_touch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF NEW.status = 'ACTIVE' THEN
    NEW.scim_deleted_at := NULL;
  END IF;
  IF (NEW.status, NEW.department_label, NEW.external_scim_id, NEW.scim_deleted_at, NEW.name_key, NEW.email_key)
     IS DISTINCT FROM
     (OLD.status, OLD.department_label, OLD.external_scim_id, OLD.scim_deleted_at, OLD.name_key, OLD.email_key)
     AND NEW.updated_at = OLD.updated_at THEN
    NEW.updated_at := now();
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER membership_touch BEFORE UPDATE ON membership FOR EACH ROW EXECUTE FUNCTION membership_touch();

-- How many people a directory sees in each organisation: an unfiltered page states its total without counting them.
CREATE OR REPLACE FUNCTION scim_count() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO scim_total AS t (organization_id, people)
      SELECT organization_id, count(*) FROM new_rows WHERE scim_visible GROUP BY organization_id
      ON CONFLICT (organization_id) DO UPDATE SET people = t.people + EXCLUDED.people;
  ELSIF TG_OP = 'DELETE' THEN
    UPDATE scim_total t SET people = t.people - d.n
      FROM (SELECT organization_id, count(*) AS n FROM old_rows WHERE scim_visible GROUP BY organization_id) d
     WHERE t.organization_id = d.organization_id;
  ELSE
    INSERT INTO scim_total AS t (organization_id, people)
      SELECT n.organization_id, sum(n.scim_visible::int - o.scim_visible::int)
        FROM new_rows n JOIN old_rows o USING (id) WHERE n.scim_visible <> o.scim_visible
       GROUP BY n.organization_id HAVING sum(n.scim_visible::int - o.scim_visible::int) <> 0
      ON CONFLICT (organization_id) DO UPDATE SET people = t.people + EXCLUDED.people;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER scim_count_insert AFTER INSERT ON membership REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION scim_count();
CREATE TRIGGER scim_count_update AFTER UPDATE ON membership REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION scim_count();
CREATE TRIGGER scim_count_delete AFTER DELETE ON membership REFERENCING OLD TABLE AS old_rows
  FOR EACH STATEMENT EXECUTE FUNCTION scim_count();
INSERT INTO scim_total (organization_id, people)
  SELECT organization_id, count(*) FROM membership WHERE scim_visible GROUP BY organization_id;
