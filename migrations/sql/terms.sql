-- Whom a booking pays and by which shares (chapter 2, 2.3 "expert", 2.10). The payer acts; host, memberships and rate
-- cards belong to others, so these functions look for it and show nothing but the terms.

-- The host of a plan, the expert's routing there, and the shares of the narrowest card in force:
-- membership override, contract+plan, host+plan, contract+type, host+type, contract, host, 1000/1000/8000.
-- Without a host: 2000/0/8000, or the sponsoring contract's card with the organisation's share given to the expert.
CREATE OR REPLACE FUNCTION booking_terms(p_plan bigint, p_contract bigint, p_at timestamptz)
RETURNS TABLE (host_id bigint, rate_card_id bigint, platform_bps int, org_bps int, consultant_bps int,
               to_organization boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH subject AS (
    SELECT p.id AS plan_id, p.type, p.price_paise, e.user_id, coalesce(
             (SELECT o.id FROM organization o WHERE o.id = p.organization_id AND o.can_host),
             (SELECT m.organization_id FROM membership m
                JOIN organization o ON o.id = m.organization_id AND o.can_host AND o.status = 'ACTIVE'
               WHERE m.user_id = e.user_id AND m.role = 'EXPERT' AND m.status = 'ACTIVE'
               ORDER BY m.joined_at, m.id LIMIT 1)) AS host
      FROM plan p JOIN consultant_profile e ON e.id = p.expert_id WHERE p.id = p_plan
  ), member AS (
    SELECT m.rate_card_override_id, m.payout_recipient FROM subject s
      JOIN membership m ON m.organization_id = s.host AND m.user_id = s.user_id AND m.status = 'ACTIVE'
  ), card AS (
    SELECT c.* FROM subject s JOIN rate_card c
        ON ((c.organization_id = s.host AND c.contract_id IS NULL) OR c.contract_id = p_contract)
     WHERE c.effective_from <= p_at AND (c.effective_to IS NULL OR c.effective_to > p_at)
       AND (c.plan_id IS NULL OR c.plan_id = s.plan_id) AND (c.plan_type IS NULL OR c.plan_type = s.type)
       AND s.price_paise >= coalesce(c.min_gross_paise, 0)
       AND (c.max_gross_paise IS NULL OR s.price_paise <= c.max_gross_paise)
     ORDER BY c.id IS NOT DISTINCT FROM (SELECT rate_card_override_id FROM member) DESC,
              c.plan_id IS NULL, c.plan_type IS NULL, c.contract_id IS NULL, c.id
     LIMIT 1
  )
  SELECT s.host, c.id,
         coalesce(c.platform_bps, CASE WHEN s.host IS NULL THEN 2000 ELSE 1000 END),
         CASE WHEN s.host IS NULL THEN 0 ELSE coalesce(c.org_bps, 1000) END,
         CASE WHEN s.host IS NULL THEN coalesce(c.consultant_bps + c.org_bps, 8000) ELSE coalesce(c.consultant_bps, 8000) END,
         coalesce((SELECT payout_recipient = 'ORGANIZATION' FROM member), false)
    FROM subject s LEFT JOIN card c ON true
$$;

-- The host's share of a settled payment, once, as the payment's own snapshot says.
CREATE OR REPLACE FUNCTION organization_earning_record(p_payment uuid, p_hold timestamptz, p_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO organization_earnings (organization_id, payment_id, gross_paise, platform_bps, org_bps, consultant_bps,
                                     share_paise, status, hold_until, created_at)
  SELECT (t.split->>'host_id')::bigint, p.id, p.price_paise, (t.split->>'platform_bps')::int, (t.split->>'org_bps')::int,
         (t.split->>'consultant_bps')::int, (t.split->>'org')::bigint, 'PENDING', p_hold, p_at
    FROM payment p, LATERAL (SELECT p.snapshot->'split' AS split) t
   WHERE p.public_id = p_payment AND p.status = 'SUCCEEDED' AND (t.split->>'org')::bigint > 0
  ON CONFLICT ON CONSTRAINT uq_org_earning_payment DO NOTHING
$$;

-- What refunds that were spread took back of the host's share; derived from the refunds, so that it repeats safely.
CREATE OR REPLACE FUNCTION organization_earning_refund(p_payment uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE organization_earnings e
     SET refunded_paise = e.share_paise * r.part / r.whole,
         status = CASE WHEN e.share_paise * r.part / r.whole = e.share_paise AND e.status <> 'PAID' THEN 'REFUNDED'
                       ELSE e.status END
    FROM (SELECT p.id, CASE WHEN p.amount_paise > 0 THEN p.amount_paise ELSE 10000 END AS whole,
                 coalesce(sum(CASE WHEN p.amount_paise > 0 THEN f.amount_paise ELSE f.policy_bps END), 0)::bigint AS part
            FROM payment p LEFT JOIN refund f ON f.payment_id = p.id AND f.cascaded_at IS NOT NULL
           WHERE p.public_id = p_payment GROUP BY p.id) r
   WHERE e.payment_id = r.id
$$;
