-- What lists of people are ordered and searched by, kept beside the membership: row-level security serves an index only
-- with leakproof comparisons, and an order by columns of ab_user would sort everybody (docs/decisions/0010).
CREATE OR REPLACE FUNCTION membership_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  SELECT lower(btrim(concat(u.first_name, ' ', u.last_name))), lower(btrim(concat(u.last_name, ' ', u.first_name))),
         lower(coalesce(u.email, ''))
    INTO NEW.name_key, NEW.family_key, NEW.email_key
    FROM ab_user u WHERE u.id = NEW.user_id;
  NEW.name_key := coalesce(NEW.name_key, '');
  NEW.family_key := coalesce(NEW.family_key, '');
  NEW.email_key := coalesce(NEW.email_key, '');
  RETURN NEW;
END $$;
CREATE TRIGGER membership_keys BEFORE INSERT OR UPDATE OF user_id, name_key, family_key, email_key ON membership
  FOR EACH ROW EXECUTE FUNCTION membership_keys();

CREATE OR REPLACE FUNCTION person_renamed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  UPDATE membership SET name_key = '' WHERE user_id = NEW.id;
  RETURN NULL;
END $$;
CREATE TRIGGER person_renamed AFTER UPDATE OF first_name, last_name, email ON ab_user
  FOR EACH ROW WHEN ((OLD.first_name, OLD.last_name, OLD.email) IS DISTINCT FROM (NEW.first_name, NEW.last_name, NEW.email))
  EXECUTE FUNCTION person_renamed();

-- Active members by role of the organisation acted for. A definer function: the policy is checked once, not for each row.
CREATE OR REPLACE FUNCTION members_by_role(p_org bigint) RETURNS TABLE (role text, members bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.role::text, count(*) FROM membership m
   WHERE m.organization_id = p_org AND m.status = 'ACTIVE'
     AND (p_org = (SELECT nullif(current_setting('app.org_id', true), '')::bigint)
          OR (SELECT current_setting('app.scope', true)) IN ('platform', 'job'))
   GROUP BY m.role
$$;
