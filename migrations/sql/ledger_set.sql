-- ledger_post as sets: one statement for all balances and entries but the wallet's, one for the wallet. It replaces a loop
-- over the legs; what it promises is unchanged (chapter 2, 2.2). Errors carry SQLSTATE CL001 and the code as message.
--
--   p_codes[i] '<KIND>|<scope>:<id>|INR', p_sides[i] 'D' or 'C', p_amounts[i] paise > 0
--
-- Returns the transaction's id, or NULL when the key was posted before with the same legs. Balances are locked in the order
-- of their accounts, the wallet last: it is the only row that concurrent bookings of one organisation share. A debit that
-- takes a wallet below its minimum leaves a message in the outbox, in the same transaction (2.4, automatic top-up). A
-- frozen wallet refuses to be spent; what has left through a provider (TOPUP_REFUND, CHARGEBACK) is booked all the same.
CREATE OR REPLACE FUNCTION ledger_post(p_key text, p_kind text, p_org bigint, p_codes text[], p_sides text[],
                                       p_amounts bigint[], p_details jsonb, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  ctx_org bigint := nullif(current_setting('app.org_id', true), '')::bigint;
  tx bigint;
  fingerprint text;
  found_hash text;
  difference bigint;
  wallet_org bigint;
  wallet_delta bigint;
  wallet record;
BEGIN
  IF p_org IS NOT NULL AND p_org IS DISTINCT FROM ctx_org THEN
    RAISE EXCEPTION 'LEDGER_FOREIGN_ORGANIZATION' USING ERRCODE = 'CL001';
  END IF;
  IF coalesce(array_length(p_codes, 1), 0) < 2 OR array_length(p_codes, 1) IS DISTINCT FROM array_length(p_sides, 1)
     OR array_length(p_codes, 1) IS DISTINCT FROM array_length(p_amounts, 1) THEN
    RAISE EXCEPTION 'LEDGER_LEGS_INVALID' USING ERRCODE = 'CL001';
  END IF;
  SELECT sum(CASE side WHEN 'D' THEN amount WHEN 'C' THEN -amount END),
         encode(sha256(convert_to(string_agg(code || side || amount, ',' ORDER BY code, side, amount), 'UTF8')), 'hex'),
         max(split_part(split_part(code, '|', 2), ':', 2)) FILTER (WHERE code LIKE 'WALLET|org:%'),
         sum(CASE side WHEN 'D' THEN amount ELSE -amount END) FILTER (WHERE code LIKE 'WALLET|org:%')
    INTO difference, fingerprint, wallet_org, wallet_delta FROM unnest(p_codes, p_sides, p_amounts) AS l(code, side, amount);
  IF difference IS DISTINCT FROM 0 THEN
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
  IF EXISTS (SELECT 1 FROM unnest(p_codes) AS c WHERE c LIKE ANY (ARRAY['WALLET|org:%', 'WALLET\_HOLD|org:%'])
              AND split_part(split_part(c, '|', 2), ':', 2)::bigint IS DISTINCT FROM ctx_org) THEN
    RAISE EXCEPTION 'LEDGER_FOREIGN_ORGANIZATION' USING ERRCODE = 'CL001';
  END IF;

  WITH leg AS MATERIALIZED (
    SELECT a.id, a.scope, a.organization_id AS org, l.side, l.amount, l.n,
           sum(CASE l.side WHEN 'D' THEN l.amount ELSE -l.amount END) OVER (PARTITION BY a.id ORDER BY l.n) AS so_far,
           sum(CASE l.side WHEN 'D' THEN l.amount ELSE -l.amount END) OVER (PARTITION BY a.id) AS delta
      FROM unnest(p_codes, p_sides, p_amounts) WITH ORDINALITY AS l(code, side, amount, n)
      JOIN ledger_account a ON a.code = l.code
     WHERE a.kind <> 'WALLET'
  ), locked AS MATERIALIZED (
    SELECT b.account_id FROM ledger_balance b WHERE b.account_id IN (SELECT id FROM leg WHERE scope <> 'platform')
     ORDER BY b.account_id FOR NO KEY UPDATE
  ), moved AS (
    UPDATE ledger_balance b SET balance_paise = b.balance_paise + d.delta, updated_at = p_at
      FROM (SELECT DISTINCT leg.id, leg.delta FROM leg JOIN locked ON locked.account_id = leg.id) d
     WHERE b.account_id = d.id RETURNING b.account_id, b.balance_paise
  )
  INSERT INTO ledger_entry (transaction_id, account_id, organization_id, side, amount_paise, balance_after_paise, posted_at)
    SELECT tx, leg.id, leg.org, leg.side, leg.amount, moved.balance_paise - leg.delta + leg.so_far, p_at
      FROM leg LEFT JOIN moved ON moved.account_id = leg.id ORDER BY leg.n;

  IF wallet_org IS NOT NULL THEN
    WITH cache AS (
      UPDATE billing_account SET wallet_balance_paise = wallet_balance_paise - wallet_delta
       WHERE organization_id = wallet_org AND funding_source = 'WALLET'
         AND (wallet_delta < 0 OR (wallet_balance_paise >= wallet_delta
              AND (wallet_frozen_at IS NULL OR p_kind IN ('TOPUP_REFUND', 'CHARGEBACK', 'ADJUSTMENT'))))
      RETURNING wallet_balance_paise, min_balance_paise
    ), moved AS (
      UPDATE ledger_balance b SET balance_paise = b.balance_paise + wallet_delta, updated_at = p_at
        FROM cache, ledger_account a
       WHERE a.code = 'WALLET|org:' || wallet_org || '|INR' AND b.account_id = a.id
      RETURNING b.account_id, b.balance_paise
    ), entries AS (
      INSERT INTO ledger_entry (transaction_id, account_id, organization_id, side, amount_paise, balance_after_paise,
                                posted_at)
      SELECT tx, moved.account_id, wallet_org, l.side, l.amount, moved.balance_paise - wallet_delta
             + sum(CASE l.side WHEN 'D' THEN l.amount ELSE -l.amount END) OVER (ORDER BY l.n), p_at
        FROM moved, unnest(p_codes, p_sides, p_amounts) WITH ORDINALITY AS l(code, side, amount, n)
       WHERE l.code LIKE 'WALLET|org:%' ORDER BY l.n
      RETURNING 1
    )
    SELECT cache.wallet_balance_paise AS balance, cache.min_balance_paise AS minimum,
           (SELECT count(*) FROM entries) AS written INTO wallet FROM cache;
    IF wallet.balance IS NULL THEN
      PERFORM 1 FROM billing_account WHERE organization_id = wallet_org AND wallet_frozen_at IS NOT NULL;
      IF FOUND THEN
        RAISE EXCEPTION 'WALLET_FROZEN' USING ERRCODE = 'CL001';
      END IF;
      RAISE EXCEPTION 'WALLET_INSUFFICIENT_FUNDS' USING ERRCODE = 'CL001';
    END IF;
    IF wallet.balance < wallet.minimum AND wallet.balance + wallet_delta >= wallet.minimum THEN
      INSERT INTO outbox_message (organization_id, topic, payload, available_at, created_at)
        VALUES (wallet_org, 'wallet_low', '{}', p_at, p_at);
    END IF;
  END IF;
  RETURN tx;
END $$;
