-- The host of a plan, the expert's routing there, and the shares of the narrowest card in force:
-- membership override, contract+plan, host+plan, contract+type, host+type, contract, host, 1000/1000/8000.
-- A card that the contract names (contract.rate_card_id) counts as the contract's, also after it was replaced: its shares
-- are agreed for the term.
-- Without a host: 2000/0/8000, or the sponsoring contract's card with the organisation's share given to the expert.
-- PL/pgSQL, because it keeps the plan: PostgreSQL before 18 plans an SQL function again at every call.
CREATE OR REPLACE FUNCTION booking_terms(p_plan bigint, p_contract bigint, p_at timestamptz)
RETURNS TABLE (host_id bigint, rate_card_id bigint, platform_bps int, org_bps int, consultant_bps int,
               to_organization boolean)
LANGUAGE plpgsql STABLE ROWS 1 SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
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
    SELECT c.* FROM subject s LEFT JOIN contract k ON k.id = p_contract JOIN rate_card c
        ON ((c.organization_id = s.host AND c.contract_id IS NULL) OR c.contract_id = p_contract OR c.id = k.rate_card_id)
     WHERE (c.id IS NOT DISTINCT FROM k.rate_card_id
            OR (c.effective_from <= p_at AND (c.effective_to IS NULL OR c.effective_to > p_at)))
       AND (c.plan_id IS NULL OR c.plan_id = s.plan_id) AND (c.plan_type IS NULL OR c.plan_type = s.type)
       AND s.price_paise >= coalesce(c.min_gross_paise, 0)
       AND (c.max_gross_paise IS NULL OR s.price_paise <= c.max_gross_paise)
     ORDER BY c.id IS NOT DISTINCT FROM (SELECT rate_card_override_id FROM member) DESC,
              c.plan_id IS NULL, c.plan_type IS NULL,
              c.contract_id IS NULL AND c.id IS DISTINCT FROM k.rate_card_id, c.id IS DISTINCT FROM k.rate_card_id, c.id
     LIMIT 1
  )
  SELECT s.host, c.id,
         coalesce(c.platform_bps, CASE WHEN s.host IS NULL THEN 2000 ELSE 1000 END),
         CASE WHEN s.host IS NULL THEN 0 ELSE coalesce(c.org_bps, 1000) END,
         CASE WHEN s.host IS NULL THEN coalesce(c.consultant_bps + c.org_bps, 8000) ELSE coalesce(c.consultant_bps, 8000) END,
         coalesce((SELECT payout_recipient = 'ORGANIZATION' FROM member), false)
    FROM subject s LEFT JOIN card c ON true;
END $$;
