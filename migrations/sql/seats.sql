-- active_seat_count: how many members hold a live place in a program. Kept by a trigger because many hands end places
-- (members leave, contracts end, the cycle engine closes). The program's row is locked first, so that the count is taken
-- in a snapshot younger than the lock. Bookings move counters, never the status, and do not fire it.
CREATE OR REPLACE FUNCTION program_seats_count() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  touched bigint;
BEGIN
  FOR touched IN
    SELECT DISTINCT p FROM unnest(ARRAY[CASE WHEN TG_OP <> 'INSERT' THEN OLD.program_id END,
                                        CASE WHEN TG_OP <> 'DELETE' THEN NEW.program_id END]) AS p
     WHERE p IS NOT NULL ORDER BY p
  LOOP
    PERFORM 1 FROM program WHERE id = touched FOR NO KEY UPDATE;
    UPDATE program SET active_seat_count = c.n
      FROM (SELECT count(DISTINCT membership_id) AS n FROM assignment
             WHERE program_id = touched AND status IN ('ACTIVE', 'PAUSED')) c
     WHERE id = touched AND active_seat_count <> c.n;
  END LOOP;
  RETURN NULL;
END $$;
CREATE TRIGGER assignment_seats AFTER INSERT OR DELETE OR UPDATE OF status, program_id ON assignment
  FOR EACH ROW EXECUTE FUNCTION program_seats_count();

-- The host's share of a settled payment, once, as the payment's own snapshot says; the gross includes a surcharge, and
-- the share waits where the booking's own earnings wait (overage unpaid, a sponsor not trusted yet).
CREATE OR REPLACE FUNCTION organization_earning_record(p_payment uuid, p_hold timestamptz, p_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  INSERT INTO organization_earnings (organization_id, payment_id, gross_paise, platform_bps, org_bps, consultant_bps,
                                     share_paise, status, hold_until, created_at)
  SELECT (t.split->>'host_id')::bigint, p.id, p.price_paise + p.surcharge_paise, (t.split->>'platform_bps')::int,
         (t.split->>'org_bps')::int, (t.split->>'consultant_bps')::int, (t.split->>'org')::bigint,
         coalesce(t.split->>'earnings', 'PENDING'), p_hold, p_at
    FROM payment p, LATERAL (SELECT p.snapshot->'split' AS split) t
   WHERE p.public_id = p_payment AND p.status = 'SUCCEEDED' AND (t.split->>'org')::bigint > 0
  ON CONFLICT ON CONSTRAINT uq_org_earning_payment DO NOTHING
$$;

-- A host's share that waited for the member's overage goes on; the payer acts, the row belongs to the host.
CREATE OR REPLACE FUNCTION organization_earning_unhold(p_payment bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
  UPDATE organization_earnings e SET status = coalesce(p.snapshot->'split'->>'earnings_after', 'PENDING')
    FROM payment p
   WHERE p.id = p_payment AND e.payment_id = p.id AND e.status = 'HELD'
     AND p.organization_id = nullif(current_setting('app.org_id', true), '')::bigint
$$;

-- Refuses a posting after which the organisation owes more than its limit: unbilled accruals and unpaid invoices are the
-- balance of its receivable (chapter 2, 2.6 step 8). ledger_post has locked that balance, so two bookings cannot share
-- what is left.
CREATE OR REPLACE FUNCTION credit_limit_check(p_org bigint, p_limit bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE owed bigint;
BEGIN
  IF p_org IS DISTINCT FROM nullif(current_setting('app.org_id', true), '')::bigint THEN
    RAISE EXCEPTION 'LEDGER_FOREIGN_ORGANIZATION' USING ERRCODE = 'CL001';
  END IF;
  SELECT b.balance_paise INTO owed FROM ledger_balance b JOIN ledger_account a ON a.id = b.account_id
   WHERE a.code = 'ORG_RECEIVABLE|org:' || p_org || '|INR';
  IF coalesce(owed, 0) > p_limit THEN
    RAISE EXCEPTION 'CREDIT_LIMIT_EXCEEDED' USING ERRCODE = 'CL001';
  END IF;
END $$;
