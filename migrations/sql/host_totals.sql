-- An expert's earnings from the plans of one host, summed by state, whoever paid: beside own_host_earnings, for the home page.
CREATE OR REPLACE FUNCTION own_host_totals(p_org bigint)
RETURNS TABLE (status text, net_paise bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT e.status::text, sum(e.share_paise - e.refunded_paise)::bigint
    FROM consultant_earnings e
    JOIN payment p ON p.id = e.payment_id
    JOIN plan l ON l.id = p.plan_id AND l.organization_id = p_org
   WHERE e.consultant_user_id = nullif(current_setting('app.user_id', true), '')::integer
   GROUP BY e.status
$$;
