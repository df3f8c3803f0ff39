-- The catalogue's search, from the side that is cheaper (docs/decisions/0040). Replaces marketplace.sql's.

-- Inner ids of offered plans the person acting may see, in order. Text search is not leakproof, so row-level security
-- would refuse it the index; the caller reads the rows through row-level security again.
CREATE OR REPLACE FUNCTION catalogue_ids(p_words text[], p_type text, p_category text, p_min bigint, p_max bigint,
    p_minutes int, p_expert bigint, p_host bigint, p_order text, p_at timestamptz, p_price bigint, p_id bigint, p_limit int)
RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  q tsquery := CASE WHEN p_words IS NULL THEN NULL ELSE catalogue_query(p_words) END;
  orgs bigint[] := ARRAY(SELECT m.organization_id FROM membership m WHERE m.status = 'ACTIVE'
                          AND m.user_id = nullif(current_setting('app.user_id', true), '')::int);
  hits bigint[];
BEGIN
  IF q IS NOT NULL THEN  -- few matches: start from them; many: walk the order and look at each
    hits := ARRAY(SELECT p.id FROM plan p WHERE p.search @@ q LIMIT 10001);
    IF cardinality(hits) > 10000 THEN
      hits := NULL;
    ELSE
      q := NULL;
    END IF;
  END IF;
  IF p_order = 'price' THEN
    RETURN QUERY SELECT p.id FROM plan p JOIN consultant_profile e ON e.id = p.expert_id
     WHERE p.active AND e.verification_status = 'VERIFIED'
       AND (p.visibility = 'PUBLIC' OR p.organization_id = ANY (orgs))
       AND (hits IS NULL OR p.id = ANY (hits)) AND (q IS NULL OR p.search @@ q) AND (p_type IS NULL OR p.type = p_type)
       AND (p_category IS NULL OR p.category = p_category) AND (p_min IS NULL OR p.price_paise >= p_min)
       AND (p_max IS NULL OR p.price_paise <= p_max) AND (p_minutes IS NULL OR p.duration_minutes <= p_minutes)
       AND (p_expert IS NULL OR p.expert_id = p_expert) AND (p_host IS NULL OR p.organization_id = p_host)
       AND (p_id IS NULL OR (p.price_paise, p.id) > (p_price, p_id))
     ORDER BY p.price_paise, p.id LIMIT p_limit;
  ELSE
    RETURN QUERY SELECT p.id FROM plan p JOIN consultant_profile e ON e.id = p.expert_id
     WHERE p.active AND e.verification_status = 'VERIFIED'
       AND (p.visibility = 'PUBLIC' OR p.organization_id = ANY (orgs))
       AND (hits IS NULL OR p.id = ANY (hits)) AND (q IS NULL OR p.search @@ q) AND (p_type IS NULL OR p.type = p_type)
       AND (p_category IS NULL OR p.category = p_category) AND (p_min IS NULL OR p.price_paise >= p_min)
       AND (p_max IS NULL OR p.price_paise <= p_max) AND (p_minutes IS NULL OR p.duration_minutes <= p_minutes)
       AND (p_expert IS NULL OR p.expert_id = p_expert) AND (p_host IS NULL OR p.organization_id = p_host)
       AND (p_id IS NULL OR (p.created_at, p.id) < (p_at, p_id))
     ORDER BY p.created_at DESC, p.id DESC LIMIT p_limit;
  END IF;
END $$;

-- How many of the newest p_most plans of a search fall into each type and category.
CREATE OR REPLACE FUNCTION catalogue_facets(p_words text[], p_min bigint, p_max bigint, p_minutes int, p_host bigint,
                                            p_most int)
RETURNS TABLE (type text, category text, plans bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  q tsquery := CASE WHEN p_words IS NULL THEN NULL ELSE catalogue_query(p_words) END;
  orgs bigint[] := ARRAY(SELECT m.organization_id FROM membership m WHERE m.status = 'ACTIVE'
                          AND m.user_id = nullif(current_setting('app.user_id', true), '')::int);
  hits bigint[];
BEGIN
  IF q IS NOT NULL THEN  -- few matches: start from them; many: walk the order and look at each
    hits := ARRAY(SELECT p.id FROM plan p WHERE p.search @@ q LIMIT 10001);
    IF cardinality(hits) > 10000 THEN
      hits := NULL;
    ELSE
      q := NULL;
    END IF;
  END IF;
  RETURN QUERY SELECT f.type::text, f.category::text, count(*) FROM (
    SELECT p.type, p.category FROM plan p JOIN consultant_profile e ON e.id = p.expert_id
     WHERE p.active AND e.verification_status = 'VERIFIED'
       AND (p.visibility = 'PUBLIC' OR p.organization_id = ANY (orgs))
       AND (hits IS NULL OR p.id = ANY (hits)) AND (q IS NULL OR p.search @@ q) AND (p_min IS NULL OR p.price_paise >= p_min)
       AND (p_max IS NULL OR p.price_paise <= p_max) AND (p_minutes IS NULL OR p.duration_minutes <= p_minutes)
       AND (p_host IS NULL OR p.organization_id = p_host)
     ORDER BY p.created_at DESC, p.id DESC LIMIT p_most) f GROUP BY 1, 2;
END $$;

