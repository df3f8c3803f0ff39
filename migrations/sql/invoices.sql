-- What law freezes, the database freezes (chapter 2, 2.9; chapter 4, 4.2). Errors carry SQLSTATE CL002 (history) or CL003
-- (totals). Definer functions of the owner: a guard sees every row it has to compare, whatever the writer may see.

-- An issued invoice changes in what happens to it (payment, credit, dunning, its order at the gateway), never in what it says.
CREATE OR REPLACE FUNCTION invoice_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
  moving constant text[] := ARRAY['status','credited_paise','paid_paise','refunded_paise','overdue_at','paid_at','closed_at',
    'close_reason','sent_at','reminders_sent','last_reminder_at','gateway','gateway_order_id','gateway_order_paise',
    'gateway_order_seq','checkout_url','drawn_hundredths'];
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.status <> 'DRAFT' THEN
      RAISE EXCEPTION 'DELETE on invoice is refused: only a draft goes' USING ERRCODE = 'CL002';
    END IF;
    RETURN OLD;
  END IF;
  IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
       ('DRAFT','ISSUED'), ('DRAFT','PAID'), ('DRAFT','CANCELLED'), ('ISSUED','PAID'), ('ISSUED','OVERDUE'),
       ('ISSUED','VOID'), ('OVERDUE','PAID'), ('OVERDUE','VOID'), ('PAID','REFUNDED')) THEN
    RAISE EXCEPTION 'invoice: % does not become %', OLD.status, NEW.status USING ERRCODE = 'CL002';
  END IF;
  IF OLD.status <> 'DRAFT' AND (to_jsonb(OLD) - moving) IS DISTINCT FROM (to_jsonb(NEW) - moving) THEN
    RAISE EXCEPTION 'UPDATE on invoice is refused: it was issued' USING ERRCODE = 'CL002';
  END IF;
  RETURN NEW;
END $$;

-- At commit an issued invoice equals its lines, to the paisa.
CREATE OR REPLACE FUNCTION invoice_check_lines() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE sums record;
BEGIN
  SELECT count(*) AS n, coalesce(sum(taxable_paise), 0) AS taxable, coalesce(sum(cgst_paise), 0) AS cgst,
         coalesce(sum(sgst_paise), 0) AS sgst, coalesce(sum(utgst_paise), 0) AS utgst, coalesce(sum(igst_paise), 0) AS igst,
         coalesce(sum(taxable_paise) FILTER (WHERE kind = 'BOOKING'), 0) AS booking,
         coalesce(sum(taxable_paise) FILTER (WHERE treatment = 'EXEMPT'), 0) AS exempt
    INTO sums FROM invoice_line WHERE organization_id = NEW.organization_id AND invoice_id = NEW.id;
  IF (sums.n, sums.taxable, sums.cgst, sums.sgst, sums.utgst, sums.igst, sums.booking, sums.exempt) IS DISTINCT FROM
     (NEW.line_count::bigint, NEW.subtotal_paise::numeric, NEW.cgst_paise::numeric, NEW.sgst_paise::numeric,
      NEW.utgst_paise::numeric, NEW.igst_paise::numeric, NEW.booking_paise::numeric, NEW.exempt_paise::numeric) THEN
    RAISE EXCEPTION 'invoice %: totals differ from its lines', NEW.number USING ERRCODE = 'CL003';
  END IF;
  RETURN NULL;
END $$;

-- Lines move only while their invoice is a draft; afterwards only credited_paise grows. One comparison a statement, so that
-- a roll-up of a hundred thousand lines is checked once.
CREATE OR REPLACE FUNCTION invoice_line_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE frozen boolean;
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT EXISTS (SELECT 1 FROM (SELECT DISTINCT invoice_id FROM fresh) f JOIN invoice i ON i.id = f.invoice_id
                   WHERE i.status <> 'DRAFT') INTO frozen;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT EXISTS (SELECT 1 FROM (SELECT DISTINCT invoice_id FROM stale) f JOIN invoice i ON i.id = f.invoice_id
                   WHERE i.status <> 'DRAFT') INTO frozen;
  ELSE
    SELECT EXISTS (SELECT 1 FROM stale o JOIN fresh n ON n.id = o.id JOIN invoice i ON i.id = o.invoice_id
                   WHERE i.status <> 'DRAFT' AND ((to_jsonb(o) - 'credited_paise') IS DISTINCT FROM
                         (to_jsonb(n) - 'credited_paise') OR n.credited_paise < o.credited_paise))
        OR (SELECT count(*) FROM stale) <> (SELECT count(*) FROM stale o JOIN fresh n ON n.id = o.id) INTO frozen;
  END IF;
  IF frozen THEN
    RAISE EXCEPTION '% on invoice_line is refused: its invoice was issued', TG_OP USING ERRCODE = 'CL002';
  END IF;
  RETURN NULL;
END $$;

-- Of a receipt only what went back changes, of a credit note only the recipient's answer about its input tax.
CREATE OR REPLACE FUNCTION frozen_but() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (to_jsonb(OLD) - TG_ARGV) IS DISTINCT FROM (to_jsonb(NEW) - TG_ARGV) THEN
    RAISE EXCEPTION '% on % is refused: its history is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'CL002';
  END IF;
  RETURN NEW;
END $$;

-- A number is the counter's next: nobody sets it back or jumps.
CREATE OR REPLACE FUNCTION document_counter_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
  IF NEW.last_number <> OLD.last_number + 1 OR (to_jsonb(OLD) - 'last_number') IS DISTINCT FROM (to_jsonb(NEW) - 'last_number') THEN
    RAISE EXCEPTION 'document_counter goes up by one' USING ERRCODE = 'CL002';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER invoice_frozen BEFORE UPDATE OR DELETE ON invoice FOR EACH ROW EXECUTE FUNCTION invoice_guard();
CREATE CONSTRAINT TRIGGER invoice_equals_lines AFTER UPDATE OF status ON invoice DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (OLD.status = 'DRAFT' AND NEW.status IN ('ISSUED','PAID')) EXECUTE FUNCTION invoice_check_lines();
CREATE TRIGGER invoice_line_added AFTER INSERT ON invoice_line REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_line_guard();
CREATE TRIGGER invoice_line_changed AFTER UPDATE ON invoice_line REFERENCING OLD TABLE AS stale NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_line_guard();
CREATE TRIGGER invoice_line_removed AFTER DELETE ON invoice_line REFERENCING OLD TABLE AS stale
  FOR EACH STATEMENT EXECUTE FUNCTION invoice_line_guard();
CREATE TRIGGER invoice_receipt_frozen BEFORE UPDATE OR DELETE ON invoice_receipt
  FOR EACH ROW EXECUTE FUNCTION frozen_but('refunded_paise');
CREATE TRIGGER credit_note_frozen BEFORE UPDATE OR DELETE ON credit_note
  FOR EACH ROW EXECUTE FUNCTION frozen_but('itc_reversal_status');
CREATE TRIGGER document_counter_steps BEFORE UPDATE ON document_counter
  FOR EACH ROW EXECUTE FUNCTION document_counter_guard();
CREATE TRIGGER tax_state_frozen BEFORE UPDATE OR DELETE ON tax_state FOR EACH ROW EXECUTE FUNCTION frozen_but('valid_to');
CREATE TRIGGER tax_rate_frozen BEFORE UPDATE OR DELETE ON tax_rate FOR EACH ROW EXECUTE FUNCTION frozen_but('valid_to');
CREATE TRIGGER tax_parameter_frozen BEFORE UPDATE OR DELETE ON tax_parameter
  FOR EACH ROW EXECUTE FUNCTION frozen_but('valid_to');
