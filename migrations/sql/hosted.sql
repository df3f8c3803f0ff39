-- What a host's experts deliver to people who do not book through the host: the rows belong to whoever pays, and of them
-- the host learns the time, the plan, the expert and a first name. The host of a booking is the one its payment froze.
-- Only the organisation acted for; sessions that stand, not a subscription's frame but the sessions planned in it.
CREATE OR REPLACE FUNCTION hosted_sessions(p_org bigint, p_past boolean, p_now timestamptz, p_at timestamptz, p_id bigint,
                                           p_limit int)
RETURNS TABLE (id bigint, starts_at timestamptz, ends_at timestamptz, plan text, expert text, learner text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT a.id, a.starts_at, a.ends_at, l.title::text, coalesce(nullif(trim(concat(x.first_name, ' ', x.last_name)), ''), 'Expert'),
         coalesce(nullif(split_part(trim(u.first_name), ' ', 1), ''), 'Learner')
    FROM appointment a
    JOIN plan l ON l.id = a.plan_id
    JOIN ab_user x ON x.id = a.expert_user_id
    JOIN ab_user u ON u.id = a.learner_user_id
   WHERE p_org = nullif(current_setting('app.org_id', true), '')::bigint
     AND a.expert_user_id IN (SELECT m.user_id FROM membership m WHERE m.organization_id = p_org
                              UNION SELECT c.user_id FROM consultant_profile c JOIN plan h ON h.expert_id = c.id
                                     WHERE h.organization_id = p_org)
     AND a.organization_id IS DISTINCT FROM p_org
     AND a.status IN ('CONFIRMED', 'COMPLETED', 'NO_SHOW')
     AND (l.type <> 'SUBSCRIPTION' OR a.parent_id IS NOT NULL)
     AND EXISTS (SELECT FROM payment p WHERE p.appointment_id = coalesce(a.parent_id, a.id)
                    AND (p.snapshot->'split'->>'host_id')::bigint = p_org)
     AND CASE WHEN p_past THEN a.ends_at <= p_now ELSE a.ends_at > p_now END
     AND (p_at IS NULL OR CASE WHEN p_past THEN (a.starts_at, a.id) < (p_at, p_id) ELSE (a.starts_at, a.id) > (p_at, p_id) END)
   ORDER BY CASE WHEN p_past THEN a.starts_at END DESC, CASE WHEN p_past THEN a.id END DESC, a.starts_at, a.id
   LIMIT p_limit
$$;
