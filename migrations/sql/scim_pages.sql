-- A page of the people a directory sees, by inner key. A definer function: the policy is checked once, not for every row
-- that is skipped on the way to a deep page, and the partial index answers alone.
CREATE OR REPLACE FUNCTION scim_member_ids(p_org bigint, p_after bigint, p_skip bigint, p_limit integer)
RETURNS SETOF bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT m.id FROM membership m
   WHERE m.organization_id = p_org AND m.scim_visible AND m.id > p_after
     AND p_org = (SELECT nullif(current_setting('app.org_id', true), '')::bigint)
   ORDER BY m.organization_id, m.id OFFSET p_skip LIMIT p_limit
$$;
