-- An expert's earnings from the plans of one host, whoever paid: the payment may belong to another organisation, which
-- row-level security keeps from both. A definer function, because it shows of those payments only what the expert earned.
CREATE OR REPLACE FUNCTION own_host_earnings(p_org bigint, p_limit integer)
RETURNS TABLE (public_id uuid, title text, starts_at timestamptz, status text, gross_paise bigint, share_paise bigint,
               refunded_paise bigint, platform_bps integer, org_bps integer, consultant_bps integer,
               hold_until timestamptz, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT e.public_id, coalesce(a.title, l.title)::text, a.starts_at, e.status::text, e.gross_paise, e.share_paise,
         e.refunded_paise, e.platform_bps, e.org_bps, e.consultant_bps, e.hold_until, e.created_at
    FROM consultant_earnings e
    JOIN payment p ON p.id = e.payment_id
    JOIN plan l ON l.id = p.plan_id AND l.organization_id = p_org
    LEFT JOIN appointment a ON a.id = p.appointment_id
   WHERE e.consultant_user_id = nullif(current_setting('app.user_id', true), '')::integer
   ORDER BY e.created_at DESC, e.id DESC
   LIMIT least(greatest(p_limit, 0), 100)
$$;

-- Coming sessions of a host's experts from the host's own plans or money, whoever paid. A definer function for the same
-- reason: of appointments of other organisations the host learns how many there are and when the next one is.
CREATE OR REPLACE FUNCTION host_upcoming(p_users integer[], p_now timestamptz)
RETURNS TABLE (user_id integer, sessions bigint, next_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT a.expert_user_id, count(*), min(a.starts_at)
    FROM appointment a
    JOIN plan l ON l.id = a.plan_id
   WHERE a.expert_user_id = ANY (p_users)
     AND nullif(current_setting('app.org_id', true), '')::bigint IN (l.organization_id, a.organization_id)
     AND a.status IN ('TENTATIVE', 'CONFIRMED') AND a.ends_at > p_now
   GROUP BY a.expert_user_id
$$;
