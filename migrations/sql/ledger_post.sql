-- ledger_post: the legs of platform accounts in one statement, every other account by itself, the wallet last. A version
-- that did everything in two statements was slower (docs/decisions/0045). Errors carry SQLSTATE CL001 and the code.
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
  leg record;
  after_balance bigint;
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
         encode(sha256(convert_to(string_agg(code || side || amount, ',' ORDER BY code, side, amount), 'UTF8')), 'hex')
    INTO difference, fingerprint FROM unnest(p_codes, p_sides, p_amounts) AS l(code, side, amount);
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

  INSERT INTO ledger_entry (transaction_id, account_id, organization_id, side, amount_paise, posted_at)
    SELECT tx, a.id, a.organization_id, l.side, l.amount, p_at
      FROM unnest(p_codes, p_sides, p_amounts) AS l(code, side, amount) JOIN ledger_account a ON a.code = l.code
     WHERE a.scope = 'platform';

  FOR leg IN
    SELECT a.id, a.kind, a.organization_id AS org, l.side, l.amount,
           CASE l.side WHEN 'D' THEN l.amount ELSE -l.amount END AS delta
      FROM unnest(p_codes, p_sides, p_amounts) WITH ORDINALITY AS l(code, side, amount, n)
      JOIN ledger_account a ON a.code = l.code
     WHERE a.scope <> 'platform' ORDER BY a.kind = 'WALLET', a.id, l.n
  LOOP
    IF leg.kind IN ('WALLET', 'WALLET_HOLD') AND leg.org IS DISTINCT FROM ctx_org THEN
      RAISE EXCEPTION 'LEDGER_FOREIGN_ORGANIZATION' USING ERRCODE = 'CL001';
    END IF;
    IF leg.kind = 'WALLET' THEN
      UPDATE billing_account SET wallet_balance_paise = wallet_balance_paise - leg.delta
       WHERE organization_id = leg.org AND funding_source = 'WALLET'
         AND (leg.delta < 0 OR (wallet_balance_paise >= leg.delta
              AND (wallet_frozen_at IS NULL OR p_kind IN ('TOPUP_REFUND', 'CHARGEBACK', 'ADJUSTMENT'))))
      RETURNING wallet_balance_paise AS balance, min_balance_paise AS minimum INTO wallet;
      IF NOT FOUND THEN
        PERFORM 1 FROM billing_account WHERE organization_id = leg.org AND wallet_frozen_at IS NOT NULL;
        IF FOUND THEN
          RAISE EXCEPTION 'WALLET_FROZEN' USING ERRCODE = 'CL001';
        END IF;
        RAISE EXCEPTION 'WALLET_INSUFFICIENT_FUNDS' USING ERRCODE = 'CL001';
      END IF;
      IF wallet.balance < wallet.minimum AND wallet.balance + leg.delta >= wallet.minimum THEN
        INSERT INTO outbox_message (organization_id, topic, payload, available_at, created_at)
          VALUES (leg.org, 'wallet_low', '{}', p_at, p_at);
      END IF;
    END IF;
    UPDATE ledger_balance SET balance_paise = balance_paise + leg.delta, updated_at = p_at
      WHERE account_id = leg.id RETURNING balance_paise INTO after_balance;
    INSERT INTO ledger_entry (transaction_id, account_id, organization_id, side, amount_paise, balance_after_paise,
                              posted_at)
      VALUES (tx, leg.id, leg.org, leg.side, leg.amount, after_balance, p_at);
  END LOOP;
  RETURN tx;
END $$;
