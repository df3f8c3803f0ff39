-- The journal's only door. The web role may not write ledger tables; it calls ledger_post, which belongs to the owner.
-- Rules: chapter 2, 2.2. Errors carry SQLSTATE CL001 and the specification's code as their message.

CREATE FUNCTION consilium_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused: its history is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'CL002';
END $$;

CREATE FUNCTION ledger_check_balance() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE diff bigint;
BEGIN
  SELECT sum(CASE side WHEN 'D' THEN amount_paise ELSE -amount_paise END) INTO diff
    FROM ledger_entry WHERE transaction_id = NEW.transaction_id;
  IF diff <> 0 THEN
    RAISE EXCEPTION 'ledger transaction % is out of balance by % paise', NEW.transaction_id, diff USING ERRCODE = 'CL003';
  END IF;
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER ledger_entry_balanced AFTER INSERT ON ledger_entry
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_balance();

-- Posts one balanced transaction; returns its id, or NULL when the key was posted before with the same legs.
--   p_codes[i] '<KIND>|<scope>:<id>|INR', p_sides[i] 'D' or 'C', p_amounts[i] paise > 0
-- Balances of organisation, consultant and user accounts move with it, and the wallet's cache in billing_account: the
-- wallet row last, because it is the only row that concurrent bookings of one organisation share.
CREATE FUNCTION ledger_post(p_key text, p_kind text, p_org bigint, p_codes text[], p_sides text[], p_amounts bigint[],
                            p_details jsonb, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  ctx_org bigint := nullif(current_setting('app.org_id', true), '')::bigint;
  tx bigint;
  fingerprint text;
  found_hash text;
  leg record;
  after_balance bigint;
  wallet bigint;
BEGIN
  IF p_org IS NOT NULL AND p_org IS DISTINCT FROM ctx_org THEN
    RAISE EXCEPTION 'LEDGER_FOREIGN_ORGANIZATION' USING ERRCODE = 'CL001';
  END IF;
  IF coalesce(array_length(p_codes, 1), 0) < 2 OR array_length(p_codes, 1) IS DISTINCT FROM array_length(p_sides, 1)
     OR array_length(p_codes, 1) IS DISTINCT FROM array_length(p_amounts, 1) THEN
    RAISE EXCEPTION 'LEDGER_LEGS_INVALID' USING ERRCODE = 'CL001';
  END IF;
  SELECT sum(CASE side WHEN 'D' THEN amount WHEN 'C' THEN -amount END),
         encode(sha256(convert_to(string_agg(code || side || amount, ',' ORDER BY code, side, amount), 'UTF8')), 'hex')
    INTO after_balance, fingerprint FROM unnest(p_codes, p_sides, p_amounts) AS l(code, side, amount);
  IF after_balance IS DISTINCT FROM 0 THEN
    RAISE EXCEPTION 'LEDGER_LEGS_UNBALANCED' USING ERRCODE = 'CL001';
  END IF;

  INSERT INTO ledger_transaction (organization_id, key, kind, legs_hash, details, posted_at, created_at)
    VALUES (p_org, p_key, p_kind, fingerprint, coalesce(p_details, '{}'), p_at, p_at)
    ON CONFLICT (key) DO NOTHING RETURNING id INTO tx;
  IF tx IS NULL THEN
    SELECT legs_hash INTO found_hash FROM ledger_transaction WHERE key = p_key;
    IF found_hash IS DISTINCT FROM fingerprint THEN
      RAISE EXCEPTION 'LEDGER_KEY_REUSED' USING ERRCODE = 'CL001', DETAIL = p_key;
    END IF;
    RETURN NULL;
  END IF;

  PERFORM ledger_open_account(c) FROM unnest(p_codes) AS c
    WHERE NOT EXISTS (SELECT 1 FROM ledger_account a WHERE a.code = c);

  FOR leg IN
    SELECT a.id, a.kind, a.scope, a.scope_id, a.organization_id AS org, l.side, l.amount,
           CASE l.side WHEN 'D' THEN l.amount ELSE -l.amount END AS delta
      FROM unnest(p_codes, p_sides, p_amounts) AS l(code, side, amount) JOIN ledger_account a ON a.code = l.code
     ORDER BY a.kind = 'WALLET', a.scope = 'platform' DESC, a.id
  LOOP
    after_balance := NULL;
    IF leg.kind IN ('WALLET', 'WALLET_HOLD') AND leg.org IS DISTINCT FROM ctx_org THEN
      RAISE EXCEPTION 'LEDGER_FOREIGN_ORGANIZATION' USING ERRCODE = 'CL001';
    END IF;
    IF leg.kind = 'WALLET' THEN
      UPDATE billing_account SET wallet_balance_paise = wallet_balance_paise - leg.delta
        WHERE organization_id = leg.org AND funding_source = 'WALLET'
          AND (leg.delta < 0 OR (wallet_balance_paise >= leg.delta AND wallet_frozen_at IS NULL))
        RETURNING wallet_balance_paise INTO wallet;
      IF wallet IS NULL THEN
        PERFORM 1 FROM billing_account WHERE organization_id = leg.org AND wallet_frozen_at IS NOT NULL;
        IF FOUND THEN
          RAISE EXCEPTION 'WALLET_FROZEN' USING ERRCODE = 'CL001';
        END IF;
        RAISE EXCEPTION 'WALLET_INSUFFICIENT_FUNDS' USING ERRCODE = 'CL001';
      END IF;
    END IF;
    IF leg.scope <> 'platform' THEN
      UPDATE ledger_balance SET balance_paise = balance_paise + leg.delta, updated_at = p_at
        WHERE account_id = leg.id RETURNING balance_paise INTO after_balance;
    END IF;
    INSERT INTO ledger_entry (transaction_id, account_id, organization_id, side, amount_paise, balance_after_paise,
                              posted_at)
      VALUES (tx, leg.id, leg.org, leg.side, leg.amount, after_balance, p_at);
  END LOOP;
  RETURN tx;
END $$;

-- Opens the account of a code if it does not exist; unknown kinds are refused.
CREATE FUNCTION ledger_open_account(p_code text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  k text := split_part(p_code, '|', 1);
  place text := split_part(p_code, '|', 2);
  s text := split_part(place, ':', 1);
  sid bigint := nullif(split_part(place, ':', 2), '')::bigint;
  want text;
  side text;
  acc bigint;
BEGIN
  SELECT v.scope, v.side INTO want, side FROM (VALUES
    ('CASH', 'platform', 'D'), ('ORG_RECEIVABLE', 'org', 'D'), ('HOST_RECEIVABLE', 'org', 'D'),
    ('CONSULTANT_RECEIVABLE', 'consultant', 'D'), ('MEMBER_RECEIVABLE', 'user', 'D'), ('WALLET', 'org', 'C'),
    ('WALLET_HOLD', 'org', 'C'), ('ORG_PAYABLE', 'org', 'C'), ('CONSULTANT_PAYABLE', 'consultant', 'C'),
    ('TDS_PAYABLE', 'platform', 'C'), ('GST_PAYABLE', 'platform', 'C'), ('UNAPPLIED_RECEIPT', 'platform', 'C'),
    ('PLATFORM_FEE', 'platform', 'C'), ('LICENSE_REVENUE', 'platform', 'C'), ('PLATFORM_PROMO', 'platform', 'D'),
    ('DISCOUNT', 'platform', 'D'), ('LICENSE_COST', 'platform', 'D'), ('BAD_DEBT', 'platform', 'D'),
    ('GATEWAY_FEE', 'platform', 'D')) AS v(kind, scope, side) WHERE v.kind = k;
  IF want IS NULL OR want <> s OR split_part(p_code, '|', 3) <> 'INR' OR (s <> 'platform' AND sid IS NULL) THEN
    RAISE EXCEPTION 'LEDGER_ACCOUNT_INVALID' USING ERRCODE = 'CL001', DETAIL = p_code;
  END IF;
  INSERT INTO ledger_account (code, kind, scope, scope_id, organization_id, currency, normal_side)
    VALUES (p_code, k, s, sid, CASE WHEN s = 'org' THEN sid END, 'INR', side)
    ON CONFLICT (code) DO NOTHING RETURNING id INTO acc;
  IF acc IS NOT NULL AND s <> 'platform' THEN
    INSERT INTO ledger_balance (account_id, organization_id, balance_paise, updated_at)
      VALUES (acc, CASE WHEN s = 'org' THEN sid END, 0, now()) ON CONFLICT (account_id) DO NOTHING;
  END IF;
  RETURN acc;
END $$;
