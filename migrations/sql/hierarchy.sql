-- Groups of organisations (chapter 1, "Beyond the original" 1; docs/decisions/0007). A parent's OWNER or BILLING_ADMIN
-- reads figures of the organisations below it without belonging to them, which row-level security otherwise forbids.
-- Definer functions, because this is the whole of that widening: they check the right themselves, in the database, and
-- return a row per organisation with sums, never a person, a booking or an invoice.

CREATE OR REPLACE FUNCTION group_seat(p_org bigint, p_roles text[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT EXISTS (SELECT 1 FROM membership m
                  WHERE m.organization_id = p_org AND m.status = 'ACTIVE' AND m.role = ANY(p_roles)
                    AND m.user_id = nullif(current_setting('app.user_id', true), '')::integer)
      OR EXISTS (SELECT 1 FROM ab_user u
                  WHERE u.id = nullif(current_setting('app.user_id', true), '')::integer
                    AND u.active AND u.platform_role = 'ADMIN')
$$;

CREATE OR REPLACE FUNCTION group_rollup(p_org bigint, p_since timestamptz)
RETURNS TABLE (id bigint, public_id uuid, parent_id bigint, level integer, depth smallint, name text, slug text,
               status text, can_sponsor boolean, can_host boolean, funding_source text, members bigint,
               seats_used integer, seats_total integer, wallet_paise bigint, spend_paise bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH RECURSIVE tree AS (
    SELECT o.id, 0 AS level, ARRAY[lower(o.name), o.slug]::text[] AS place FROM organization o
     WHERE o.id = p_org AND group_seat(p_org, ARRAY['OWNER', 'BILLING_ADMIN'])
    UNION ALL
    SELECT o.id, t.level + 1, t.place || ARRAY[lower(o.name), o.slug]::text[]
      FROM organization o JOIN tree t ON o.parent_id = t.id WHERE t.level < 5
  )
  SELECT o.id, o.public_id, o.parent_id, t.level, o.depth, o.name::text, o.slug::text, o.status::text, o.can_sponsor,
         o.can_host, b.funding_source::text,
         (SELECT count(*) FROM membership m WHERE m.organization_id = o.id AND m.status = 'ACTIVE'),
         o.seats_used, o.seats_total, b.wallet_balance_paise,
         (SELECT coalesce(sum(p.amount_paise), 0)::bigint FROM payment p
           WHERE p.organization_id = o.id AND p.status = 'SUCCEEDED' AND p.method IN ('WALLET', 'INVOICE', 'LICENSE')
             AND p.captured_at >= p_since)
    FROM tree t JOIN organization o ON o.id = t.id LEFT JOIN billing_account b ON b.organization_id = o.id
   ORDER BY t.place
$$;

CREATE OR REPLACE FUNCTION group_parent(p_org bigint)
RETURNS TABLE (id bigint, public_id uuid, name text, slug text, status text, root_public_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT p.id, p.public_id, p.name::text, p.slug::text, p.status::text, r.public_id
    FROM organization o JOIN organization p ON p.id = o.parent_id LEFT JOIN organization r ON r.id = o.root_id
   WHERE o.id = p_org AND group_seat(p_org, ARRAY['OWNER', 'MAINTAINER', 'MANAGER', 'BILLING_ADMIN'])
$$;
