-- A host's share waits for its session where it is now; the payer's side acts, the row belongs to the host.
CREATE OR REPLACE FUNCTION organization_earning_wait(p_payment bigint, p_hold timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE organization_earnings e SET hold_until = p_hold
    FROM payment p
   WHERE p.id = p_payment AND e.payment_id = p.id AND e.status IN ('PENDING', 'PENDING_TRUST', 'HELD')
     AND p.organization_id IS NOT DISTINCT FROM nullif(current_setting('app.org_id', true), '')::bigint
$$;
