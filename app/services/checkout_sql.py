"""The statements of a checkout. docs/decisions/0003-checkout-without-serializable.md argues each lock.

They are plain SQL because they are the hot path: one reading, one writing, one posting, two round trips in all. What
they enforce is said beside each part; the rules that need no lock are Python, in ``checkout.py``.
"""

from __future__ import annotations

# Arms row-level security for the payer found in the caller's own memberships.
ENTER = "SELECT set_config('app.org_id', %(org)s::text, true)"

# The best program for a member m and a plan p on a day: specific before wildcard, then the earliest end (2.6 step 4).
# A contract that was renewed ahead of its term covers until its own begins. Programs whose panel leaves the expert out come last, so that the refusal can say why.
COVERING = """
  SELECT a.id AS assignment_id, a.public_id AS assignment_public_id, a.consumed_paise, a.period_start, a.period_end,
         a.engagements_used, a.warned_at, a.exhausted_at,
         pr.id AS program_id, pr.public_id AS program_public_id, pr.name AS program_name, pr.type AS program_type, pr.cycle,
         pr.credits_per_cycle, pr.pool_scope, pr.overage_behavior, pr.contract_id, pr.covered_engagements_per_cycle,
         pr.price_cap_per_engagement_paise, pr.overage_surcharge_bps, pr.max_overage_per_cycle_paise,
         cardinality(pr.panel_expert_ids) = 0 OR p.expert_id = ANY (pr.panel_expert_ids) AS on_panel,
         coalesce(s.consumed, a.consumed_paise) AS pool_consumed_paise, coalesce(s.overage, a.overage_paise) AS pool_overage_paise
    FROM assignment a
    JOIN program pr ON pr.id = a.program_id AND pr.status = 'ACTIVE'
    JOIN contract c ON c.id = pr.contract_id AND c.status = 'ACTIVE'
                   AND (c.effective_from <= %(today)s::date OR c.supersedes_contract_id IS NOT NULL)
                   AND (c.effective_to IS NULL OR c.effective_to >= %(today)s::date)
    LEFT JOIN LATERAL (
           SELECT sum(o.consumed_paise)::bigint AS consumed, sum(o.overage_paise)::bigint AS overage FROM assignment o
            WHERE pr.pool_scope = 'SHARED' AND o.program_id = pr.id AND o.status = 'ACTIVE'
              AND %(today)s::date BETWEEN o.period_start AND o.period_end) s ON pr.pool_scope = 'SHARED'
   WHERE a.membership_id = m.id AND a.status = 'ACTIVE' AND %(today)s::date BETWEEN a.period_start AND a.period_end
     AND (cardinality(pr.covered_plan_types) = 0 OR p.type = ANY (pr.covered_plan_types))
     AND (cardinality(pr.allowed_categories) = 0 OR p.category = ANY (pr.allowed_categories))
   ORDER BY (cardinality(pr.panel_expert_ids) = 0 OR p.expert_id = ANY (pr.panel_expert_ids)) DESC,
            cardinality(pr.panel_expert_ids) = 0, cardinality(pr.allowed_categories) = 0,
            cardinality(pr.covered_plan_types) = 0, a.period_end, a.id
   LIMIT 1"""

# Everything the rules look at, one row; no row when the plan is hidden from the caller.
READ = f"""
SELECT k.request_hash, k.status AS stored_status, k.response AS stored_response,
       p.id AS plan_id, p.public_id AS plan_public_id, p.title, p.type, p.category, p.price_paise, p.tax_bps, p.sac_code,
       p.supply_model, p.duration_minutes, p.active, p.organization_id AS plan_org_id, p.total_sessions, p.sessions_per_week,
       t.host_id, t.rate_card_id, t.platform_bps, t.org_bps, t.consultant_bps, t.to_organization,
       e.id AS expert_id, e.public_id AS expert_public_id, e.verification_status, eu.id AS expert_user_id,
       eu.email AS expert_email, coalesce(nullif(trim(concat(eu.first_name, ' ', eu.last_name)), ''), eu.email) AS expert_name,
       eu.timezone AS expert_zone,
       lu.email AS learner_email, coalesce(nullif(trim(concat(lu.first_name, ' ', lu.last_name)), ''), lu.email) AS learner_name,
       lu.timezone AS learner_zone,
       o.id AS org_id, o.public_id AS org_public_id, o.name AS org_name, o.slug AS org_slug, o.status AS org_status,
       o.can_sponsor, o.gstin, o.gst_state_code, o.default_cancellation_policy,
       m.id AS membership_id, m.status AS membership_status, m.spend_limit_paise,
       b.id AS billing_account_id, b.funding_source, b.wallet_frozen_at, b.dunning_suspended_at,
       b.wallet_balance_paise, b.allow_member_top_up, b.credit_limit_paise,
       coalesce(b.trusted_at, b.first_invoice_paid_at) IS NOT NULL AS trusted,
       CASE b.funding_source WHEN 'INVOICE' THEN (
         SELECT d.balance_paise FROM ledger_account i JOIN ledger_balance d ON d.account_id = i.id
          WHERE i.code = 'ORG_RECEIVABLE|org:' || o.id || '|INR') END AS owed_paise,
       EXISTS (SELECT FROM overage_event v WHERE v.membership_id = m.id AND v.charge_to = 'MEMBER'
                  AND v.charge_status = 'FAILED') AS overage_unpaid,
       EXISTS (SELECT FROM consultee_profile v WHERE v.user_id = lu.id) AS has_profile,
       EXISTS (SELECT FROM trial v WHERE v.learner_user_id = lu.id AND v.expert_id = e.id
                  AND v.status NOT IN ('REJECTED', 'CANCELLED', 'CONVERTED')) AS in_trial,
       f.*,
       (SELECT json_agg(json_build_array(w.weekday, w.starts, w.ends, w.zone)) FROM availability_window w
         WHERE w.expert_id = e.id) AS windows,
       (SELECT json_agg(json_build_array(v.day, v.starts, v.ends, v.zone)) FROM availability_override v
         WHERE v.expert_id = e.id AND v.day BETWEEN (%(starts)s::timestamptz - interval '2 days')::date
           AND (%(starts)s::timestamptz + interval '2 days')::date) AS overrides,
       (SELECT v.tiers FROM cancellation_policy v WHERE v.organization_id = t.host_id ORDER BY v.version DESC LIMIT 1) AS host_tiers,
       (SELECT v.tiers FROM cancellation_policy v WHERE v.organization_id = o.id ORDER BY v.version DESC LIMIT 1) AS payer_tiers
  FROM plan p
  JOIN consultant_profile e ON e.id = p.expert_id
  JOIN ab_user eu ON eu.id = e.user_id
  JOIN ab_user lu ON lu.id = %(user)s::int
  LEFT JOIN idempotency_key k ON k.scope = %(scope)s::text AND k.key = %(key)s::text
  LEFT JOIN organization o ON o.id = nullif(%(org)s::text, '')::bigint
  LEFT JOIN membership m ON m.organization_id = o.id AND m.user_id = lu.id
  LEFT JOIN billing_account b ON b.organization_id = o.id
  LEFT JOIN LATERAL ({COVERING}) f ON true
  LEFT JOIN LATERAL booking_terms(p.id, f.contract_id, %(now)s::timestamptz) t ON true
 WHERE p.public_id = %(plan)s::uuid"""  # noqa: S608 - put together from constants of this file

# Members with a spend limit book one after the other; the sum is taken after the lock, in a fresh snapshot (1.3, P-36).
LOCK_MEMBER = "SELECT spend_limit_paise FROM membership WHERE id = %(membership)s::bigint FOR NO KEY UPDATE"
SPENT_THIS_MONTH = """
SELECT coalesce(sum(l.amount_paise), 0)::bigint FROM payment p JOIN payment_leg l ON l.payment_id = p.id
 WHERE p.organization_id = %(org)s::bigint AND p.user_id = %(user)s::int AND p.status IN ('SUCCEEDED', 'PENDING')
   AND l.source NOT IN ('CARD', 'CARD_REVERSAL') AND coalesce(p.captured_at, p.created_at) >= %(month)s::timestamptz"""

# A shared pool has no counter of its own: its members book one after the other under the program's row.
LOCK_POOL = "SELECT id FROM program WHERE id = %(program)s::bigint FOR NO KEY UPDATE"

# A hold whose time is over no longer blocks anybody; its payment is ended by the job, or revived by a late capture.
SWEEP = """
DELETE FROM calendar_claim WHERE user_id IN (%(expert_user)s::int, %(user)s::int) AND expires_at < %(now)s::timestamptz
   AND span && tstzrange(%(starts)s::timestamptz, %(ends)s::timestamptz, '[)')"""

# A seat is judged under the event's row before anything else is locked or written.
SEAT = "SELECT event_seat_take(%(event)s::bigint, %(user)s::int, %(scope)s::text, %(key)s::text, %(final)s, %(now)s::timestamptz)"

# One statement writes the booking. Each part hangs on the one before it, so that it runs in this order and stops where
# one finds nothing:
#   k      the idempotency key; a concurrent twin waits here for the first, then inserts nothing
#   turn   both calendars, in the order of user ids: waiting is orderly, deadlocks cannot arise
#   used   nothing to count without an assignment (a card of one's own); else the assignment's counters, guarded by its
#          state, the pool's budget or the seat's cap, and the ceiling of overage (NULL where it does not apply); a shared
#          pool (shared_pool, else NULL) counts what its other members used, under the program's lock
#   a      the appointment, then its claims, which the exclusion constraint judges
#   p      the payment and what hangs on it
#
# The executor prepares every part, also those that find nothing to do: what few bookings need is left out of the others.
_WRITE = """
WITH k AS (
  INSERT INTO idempotency_key (scope, key, user_id, request_hash, status, response, created_at)
  VALUES (%(scope)s::text, %(key)s::text, %(user)s::int, %(hash)s::text, 201, %(response)s::jsonb, %(now)s::timestamptz)
  ON CONFLICT (scope, key) DO NOTHING RETURNING id
), turn AS MATERIALIZED (
  SELECT count(pg_advisory_xact_lock(20261, u)) AS n
    FROM (SELECT u FROM k, unnest(ARRAY[%(expert_user)s::int, %(user)s::int]) AS u ORDER BY u) AS people
), others AS (
  SELECT coalesce(sum(s.consumed_paise), 0) AS consumed, coalesce(sum(s.overage_paise), 0) AS overage FROM assignment s
   WHERE s.program_id = %(shared_pool)s::bigint AND s.id <> %(assignment)s::bigint AND s.status = 'ACTIVE'
     AND %(today)s::date BETWEEN s.period_start AND s.period_end
), counted AS (
  UPDATE assignment SET consumed_paise = consumed_paise + %(covered)s::bigint,
         engagements_used = engagements_used + %(engagements)s::int, overage_paise = overage_paise + %(marginal)s::bigint,
         overage_count = overage_count + (%(marginal)s::bigint > 0)::int
    FROM turn, others
   WHERE turn.n = 2 AND id = %(assignment)s::bigint AND status = 'ACTIVE'
     AND (%(budget)s::bigint IS NULL OR consumed_paise + %(covered)s::bigint + others.consumed <= %(budget)s::bigint)
     AND (%(cap)s::int IS NULL OR engagements_used + %(engagements)s::int <= %(cap)s::int)
     AND (%(ceiling)s::bigint IS NULL OR overage_paise + %(marginal)s::bigint + others.overage <= %(ceiling)s::bigint)
  RETURNING id
), used AS (
  SELECT 1 FROM counted UNION ALL SELECT 1 FROM turn WHERE turn.n = 2 AND %(assignment)s::bigint IS NULL
), a AS (
  INSERT INTO appointment (public_id, organization_id, plan_id, expert_id, expert_user_id, learner_user_id, status, title,
                           starts_at, ends_at, cancellation_policy, event_id, created_at)
  SELECT %(appointment)s::uuid, %(org)s::bigint, %(plan_id)s::bigint, %(expert)s::bigint, %(expert_user)s::int,
         %(user)s::int, %(appointment_status)s::text, %(title)s::text, %(starts)s::timestamptz, %(ends)s::timestamptz,
         %(policy)s::jsonb, %(event)s::bigint, %(now)s::timestamptz FROM used
  RETURNING id
), claims AS (
  INSERT INTO calendar_claim (user_id, appointment_id, event_session_id, role, span, expires_at)
  SELECT c.u, a.id, c.session, c.role, tstzrange(c.starts, c.ends, '[)'), %(expires)s::timestamptz
    FROM a, jsonb_to_recordset(%(claims)s::jsonb)
         AS c(u int, role text, starts timestamptz, ends timestamptz, session bigint)
  RETURNING id
), p AS (
  INSERT INTO payment (public_id, organization_id, user_id, billing_account_id, appointment_id, plan_id, status, method,
                       description, price_paise, discount_paise, surcharge_paise, license_paise, member_paise, tax_paise,
                       tax_bps, amount_paise, provider_payment_id, receipt_number, snapshot, captured_at, expires_at, gateway, created_at)
  SELECT %(payment)s::uuid, %(org)s::bigint, %(user)s::int, %(account)s::bigint, a.id, %(plan_id)s::bigint,
         %(payment_status)s::text, %(method)s::text, %(title)s::text, %(price)s::bigint, %(discount)s::bigint,
         %(surcharge)s::bigint, %(license)s::bigint, %(member)s::bigint, %(tax)s::bigint,
         %(tax_bps)s::int, %(amount)s::bigint, %(provider_payment)s::text, %(receipt)s::text, %(snapshot)s::jsonb,
         %(captured)s::timestamptz, %(expires)s::timestamptz, %(gateway)s::text, %(now)s::timestamptz
    FROM a
  RETURNING id
), leg AS (
  INSERT INTO payment_leg (organization_id, payment_id, source, amount_paise, covered_paise, created_at)
  SELECT %(org)s::bigint, p.id, l.source, l.amount_paise, l.covered_paise, %(now)s::timestamptz
    FROM p, jsonb_to_recordset(%(parts)s::jsonb) AS l(source text, amount_paise bigint, covered_paise bigint)
), utilization AS (
  INSERT INTO booking_utilization (organization_id, payment_id, assignment_id, engagements, covered_paise, snapshot, created_at)
  SELECT %(org)s::bigint, p.id, %(assignment)s::bigint, %(engagements)s::int, %(covered)s::bigint, %(terms)s::jsonb, %(now)s::timestamptz
    FROM p WHERE %(assignment)s::bigint IS NOT NULL
), usage AS (
  INSERT INTO usage_ledger_entry (organization_id, assignment_id, payment_id, engagements, consumed_paise, recorded_at, created_at)
  SELECT %(org)s::bigint, %(assignment)s::bigint, p.id, %(engagements)s::int, %(covered)s::bigint, %(now)s::timestamptz, %(now)s::timestamptz
    FROM p WHERE %(assignment)s::bigint IS NOT NULL
){beyond}, earning AS (
  INSERT INTO consultant_earnings (organization_id, payment_id, consultant_user_id, gross_paise, platform_bps, org_bps,
                                   consultant_bps, share_paise, status, hold_until, created_at)
  SELECT %(org)s::bigint, p.id, %(expert_user)s::int, %(gross)s::bigint, %(platform_bps)s::int, %(org_bps)s::int,
         %(consultant_bps)s::int, %(share)s::bigint, %(earnings)s::text, %(hold_until)s::timestamptz, %(now)s::timestamptz
    FROM p WHERE %(share)s::bigint > 0 AND %(payment_status)s::text = 'SUCCEEDED'
), audit AS (
  INSERT INTO org_audit_log (organization_id, category, action, description, details, actor_type, actor_membership_id,
                             actor_user_id, target_membership_id, target_type, target_id, ip, correlation_id, created_at)
  SELECT %(org)s::bigint, l.category, l.action, l.description, l.details, 'MEMBER', %(membership)s::bigint,
         %(user)s::int, %(membership)s::bigint, l.target_type, l.target_id, %(ip)s::inet, %(correlation)s::text,
         %(now)s::timestamptz
    FROM p, jsonb_to_recordset(%(audit)s::jsonb)
         AS l(category text, action text, description text, details jsonb, target_type text, target_id text)
), mail AS (
  INSERT INTO outbox_message (organization_id, topic, dedupe_key, payload, available_at, correlation_id, created_at)
  SELECT %(org)s::bigint, 'mail', q.dedupe_key, q.payload, %(now)s::timestamptz, %(correlation)s::text, %(now)s::timestamptz
    FROM p, jsonb_to_recordset(%(mails)s::jsonb) AS q(dedupe_key text, payload jsonb)
){first}, bell AS (
  INSERT INTO notification (user_id, organization_id, kind, title, body, url, created_at)
  SELECT n.user_id, %(org)s::bigint, 'booking.confirmed', n.title, n.body, n.url, %(now)s::timestamptz
    FROM p, jsonb_to_recordset(%(bells)s::jsonb) AS n(user_id int, title text, body text, url text)
)
SELECT (SELECT count(*) FROM k) AS keyed, (SELECT count(*) FROM used) AS metered, (SELECT count(*) FROM claims) AS claimed,
       (SELECT set_config('app.booked', %(payment)s::text, true) FROM p) AS paid"""

# A program's overage, with the member's payment where the member owes it.
_BEYOND = """, side AS (  -- what the member owes apart: a payment of its own, without an order until they open it
  INSERT INTO payment (public_id, organization_id, user_id, billing_account_id, plan_id, status, method, description,
                       price_paise, tax_paise, tax_bps, amount_paise, receipt_number, snapshot, gateway, parent_payment_id,
                       created_at)
  SELECT %(side_payment)s::uuid, %(org)s::bigint, %(user)s::int, %(account)s::bigint, %(plan_id)s::bigint, 'PENDING', 'CARD',
         left('Overage: ' || %(title)s::text, 300), %(member)s::bigint, %(member_tax)s::bigint, %(tax_bps)s::int,
         %(member)s::bigint + %(member_tax)s::bigint, %(side_receipt)s::text, %(side_snapshot)s::jsonb,
         %(side_gateway)s::text, p.id, %(now)s::timestamptz
    FROM p WHERE %(member)s::bigint > 0
  RETURNING id
), side_leg AS (
  INSERT INTO payment_leg (organization_id, payment_id, source, amount_paise, created_at)
  SELECT %(org)s::bigint, side.id, 'CARD', %(member)s::bigint + %(member_tax)s::bigint, %(now)s::timestamptz FROM side
), overage AS (
  INSERT INTO overage_event (organization_id, assignment_id, program_id, membership_id, user_id, payment_id, side_payment_id,
                             charge_to, charge_status, base_paise, surcharge_paise, marginal_paise, tax_paise, due_at,
                             charged_at, created_at)
  SELECT %(org)s::bigint, %(assignment)s::bigint, %(program)s::bigint, %(membership)s::bigint, %(user)s::int, p.id,
         (SELECT id FROM side), %(charge_to)s::text, %(charge_status)s::text, %(base)s::bigint, %(surcharge)s::bigint,
         %(marginal)s::bigint, %(member_tax)s::bigint, %(due)s::timestamptz,
         CASE %(charge_status)s::text WHEN 'CHARGED' THEN %(now)s::timestamptz END, %(now)s::timestamptz
    FROM p WHERE %(marginal)s::bigint > 0
)"""

# What READ found to do for somebody new, and for the pair of a trial.
_FIRST = """, learner AS (  -- made at the first booking, never at sign-up (1.1)
  INSERT INTO consultee_profile (user_id, created_at) SELECT %(user)s::int, %(now)s::timestamptz FROM p
   WHERE NOT EXISTS (SELECT FROM consultee_profile c WHERE c.user_id = %(user)s::int)
  ON CONFLICT (user_id) DO NOTHING
), trial AS (  -- a booking after a trial (2.3)
  UPDATE trial SET status = 'CONVERTED' FROM p WHERE learner_user_id = %(user)s::int AND expert_id = %(expert)s::bigint
     AND trial.status = 'COMPLETED' AND %(payment_status)s::text = 'SUCCEEDED' AND NOT %(for_trial)s
)"""


def write(*, beyond: bool, first: bool) -> str:
    """WRITE with the parts a booking needs: *beyond* for overage, *first* for a learner's profile and a trial's end."""
    return _WRITE.replace("{beyond}", _BEYOND if beyond else "").replace("{first}", _FIRST if first else "")


# Runs only behind a WRITE that wrote (it leaves the payment's id in app.booked). Last, because the wallet's row is the one that bookings of one organisation share: it is locked from here to commit.
POST = """
SELECT ledger_post(%(posting_key)s::text, %(posting_kind)s::text, %(org)s::bigint, %(codes)s::text[], %(sides)s::text[],
                   %(amounts)s::bigint[], %(details)s::jsonb, %(now)s::timestamptz)
 WHERE current_setting('app.booked', true) = %(payment)s::text"""

# The host's share, in the host's own books.
HOST_SHARE = """
SELECT organization_earning_record(%(payment)s::uuid, %(hold_until)s::timestamptz, %(now)s::timestamptz)
 WHERE current_setting('app.booked', true) = %(payment)s::text"""


# An organisation that pays by invoice owes no more than its limit; ledger_post has locked what it owes (2.6 step 8).
WITHIN_LIMIT = """
SELECT credit_limit_check(%(org)s::bigint, %(limit)s::bigint)
 WHERE current_setting('app.booked', true) = %(payment)s::text"""
