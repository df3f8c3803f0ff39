-- The public directory (chapter 1, "Images, settings, deletion, directory"; docs/decisions/0008): organisations that
-- host, are ACTIVE and chose to be public, with what their page shows. Definer functions rather than a policy: a policy
-- would open whole rows, tax identity and contacts included; these open the columns below and nothing else.

CREATE OR REPLACE FUNCTION public_hosts(p_slug text, p_industry text, p_search text, p_ids bigint[],
                                        p_after_name text, p_after_id bigint, p_limit integer)
RETURNS TABLE (id bigint, public_id uuid, name text, slug text, description text, industry text, website text,
               size_bucket text, logo text, banner_image text, primary_color text, secondary_color text,
               can_sponsor boolean, experts bigint, sort_name text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT o.id, o.public_id, o.name::text, o.slug::text, o.description, o.industry::text, o.website::text,
         o.size_bucket::text, o.logo::text, o.banner_image::text, o.primary_color::text, o.secondary_color::text,
         o.can_sponsor,
         (SELECT count(*) FROM membership m
           WHERE m.organization_id = o.id AND m.role = 'EXPERT' AND m.status = 'ACTIVE'),
         lower(o.name)
    FROM organization o
   WHERE o.is_public AND o.can_host AND o.status = 'ACTIVE'
     AND (p_slug IS NULL OR o.slug = p_slug OR o.public_id::text = p_slug)
     AND (p_industry IS NULL OR lower(o.industry) = lower(p_industry))
     AND (p_search IS NULL OR position(lower(p_search) IN lower(o.name || ' ' || coalesce(o.industry, '') || ' ' ||
                                                                o.description)) > 0)
     AND (p_ids IS NULL OR o.id = ANY(p_ids))
     AND (p_after_name IS NULL OR (lower(o.name), o.id) > (p_after_name, p_after_id))
   ORDER BY lower(o.name), o.id
   LIMIT least(greatest(p_limit, 0), 101)
$$;

CREATE OR REPLACE FUNCTION public_industries() RETURNS TABLE (industry text, hosts bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT min(o.industry)::text, count(*) FROM organization o
   WHERE o.is_public AND o.can_host AND o.status = 'ACTIVE' AND o.industry <> ''
   GROUP BY lower(o.industry) ORDER BY count(*) DESC, 1 LIMIT 12
$$;
