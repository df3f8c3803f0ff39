-- Holds on earnings (chapter 2, 2.8, 2.10). The rows belong to the payer's and to the host's books, so whoever applies a
-- provider's event reaches them through these functions only.

-- A dispute opens: what is not paid out, in a payout or refunded already is HELD; held_from remembers what it was.
CREATE OR REPLACE FUNCTION earnings_hold(p_payment bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE consultant_earnings SET held_from = status, status = 'HELD'
   WHERE payment_id = p_payment AND held_from IS NULL AND status IN ('PENDING_TRUST', 'PENDING', 'READY', 'HELD');
  UPDATE organization_earnings SET held_from = status, status = 'HELD'
   WHERE payment_id = p_payment AND held_from IS NULL AND status IN ('PENDING_TRUST', 'PENDING', 'READY', 'HELD');
$$;

-- The last open dispute of a payment ends: earnings are what they were, or REFUNDED when nothing of them is left.
CREATE OR REPLACE FUNCTION earnings_release(p_payment bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE consultant_earnings SET held_from = NULL, status = CASE
           WHEN status <> 'HELD' THEN status WHEN refunded_paise = share_paise THEN 'REFUNDED' ELSE held_from END
   WHERE payment_id = p_payment AND held_from IS NOT NULL;
  UPDATE organization_earnings SET held_from = NULL, status = CASE
           WHEN status <> 'HELD' THEN status WHEN refunded_paise = share_paise THEN 'REFUNDED' ELSE held_from END
   WHERE payment_id = p_payment AND held_from IS NOT NULL;
$$;

-- Whatever else lets earnings go on meanwhile (a member's overage was paid) goes on when the dispute has ended.
CREATE OR REPLACE FUNCTION earnings_stay_held() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.held_from := NEW.status;
  NEW.status := 'HELD';
  RETURN NEW;
END $$;
CREATE TRIGGER consultant_earnings_stay_held BEFORE UPDATE OF status ON consultant_earnings FOR EACH ROW
  WHEN (OLD.held_from IS NOT NULL AND NEW.held_from IS NOT NULL AND NEW.status NOT IN ('HELD', 'REFUNDED'))
  EXECUTE FUNCTION earnings_stay_held();
CREATE TRIGGER organization_earnings_stay_held BEFORE UPDATE OF status ON organization_earnings FOR EACH ROW
  WHEN (OLD.held_from IS NOT NULL AND NEW.held_from IS NOT NULL AND NEW.status NOT IN ('HELD', 'REFUNDED'))
  EXECUTE FUNCTION earnings_stay_held();

-- What refunds that were spread and lost disputes took of the host's share; derived, so that it repeats safely.
CREATE OR REPLACE FUNCTION organization_earning_refund(p_payment uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE organization_earnings e
     SET refunded_paise = e.share_paise * r.part / r.whole,
         status = CASE WHEN e.share_paise * r.part / r.whole = e.share_paise AND e.status <> 'PAID' THEN 'REFUNDED'
                       ELSE e.status END
    FROM (SELECT p.id, CASE WHEN p.amount_paise > 0 THEN p.amount_paise ELSE 10000 END AS whole,
                 least(CASE WHEN p.amount_paise > 0 THEN p.amount_paise ELSE 10000 END,
                   (SELECT coalesce(sum(CASE WHEN p.amount_paise > 0 THEN f.amount_paise
                                             ELSE coalesce(f.policy_bps, 10000) END), 0)::bigint
                      FROM refund f WHERE f.payment_id = p.id AND f.cascaded_at IS NOT NULL)
                 + (SELECT coalesce(sum(d.posted_paise), 0)::bigint FROM dispute d WHERE d.payment_id = p.id)) AS part
            FROM payment p WHERE p.public_id = p_payment) r
   WHERE e.payment_id = r.id
$$;
