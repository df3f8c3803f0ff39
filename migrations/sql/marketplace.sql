-- The marketplace's functions (chapter 2, 2.3): seats under the event's row, the catalogue's search, shares that add up.

-- Words of a plan, its expert and category. A trigger keeps them, because the names live in other tables.
CREATE OR REPLACE FUNCTION plan_words(p_title text, p_category text, p_description text, p_expert bigint) RETURNS tsvector
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT setweight(to_tsvector('simple', w.a), 'A') || setweight(to_tsvector('english', w.a), 'A')
      || setweight(to_tsvector('simple', w.b), 'B') || setweight(to_tsvector('english', w.b), 'B')
      || setweight(to_tsvector('english', w.d), 'D')
    FROM consultant_profile e JOIN ab_user u ON u.id = e.user_id,
         LATERAL (SELECT p_title AS a, concat_ws(' ', u.first_name, u.last_name, p_category, e.headline, e.domain) AS b,
                         left(coalesce(p_description, ''), 5000) AS d) w
   WHERE e.id = p_expert
$$;

CREATE OR REPLACE FUNCTION plan_search_words() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  NEW.search := plan_words(NEW.title, NEW.category, NEW.description, NEW.expert_id);
  RETURN NEW;
END $$;
CREATE TRIGGER plan_search_words BEFORE INSERT OR UPDATE OF title, category, description, expert_id, search ON plan
  FOR EACH ROW EXECUTE FUNCTION plan_search_words();

CREATE OR REPLACE FUNCTION plan_expert_renamed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF TG_TABLE_NAME = 'ab_user' THEN
    UPDATE plan SET search = NULL WHERE expert_id IN (SELECT id FROM consultant_profile WHERE user_id = NEW.id);
  ELSE
    UPDATE plan SET search = NULL WHERE expert_id = NEW.id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER plan_expert_renamed AFTER UPDATE OF first_name, last_name ON ab_user
  FOR EACH ROW WHEN ((OLD.first_name, OLD.last_name) IS DISTINCT FROM (NEW.first_name, NEW.last_name))
  EXECUTE FUNCTION plan_expert_renamed();
CREATE TRIGGER plan_expert_renamed AFTER UPDATE OF headline, domain ON consultant_profile
  FOR EACH ROW WHEN ((OLD.headline, OLD.domain) IS DISTINCT FROM (NEW.headline, NEW.domain))
  EXECUTE FUNCTION plan_expert_renamed();

CREATE OR REPLACE FUNCTION plan_search_rebuild() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$ UPDATE plan SET search = NULL $$;

CREATE OR REPLACE FUNCTION catalogue_query(p_words text[]) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
  q tsquery;
  w text;
BEGIN
  FOREACH w IN ARRAY p_words LOOP
    q := coalesce(q && (to_tsquery('english', w || ':*') || to_tsquery('simple', w || ':*')),
                  to_tsquery('english', w || ':*') || to_tsquery('simple', w || ':*'));
  END LOOP;
  RETURN q;
END $$;

-- Inner ids of offered plans the person acting may see, in order. Text search is not leakproof, so row-level security
-- would refuse it the index; the caller reads the rows through row-level security again.
CREATE OR REPLACE FUNCTION catalogue_ids(p_words text[], p_type text, p_category text, p_min bigint, p_max bigint,
    p_minutes int, p_expert bigint, p_host bigint, p_order text, p_at timestamptz, p_price bigint, p_id bigint, p_limit int)
RETURNS SETOF bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  q tsquery := CASE WHEN p_words IS NULL THEN NULL ELSE catalogue_query(p_words) END;
  orgs bigint[] := ARRAY(SELECT m.organization_id FROM membership m WHERE m.status = 'ACTIVE'
                          AND m.user_id = nullif(current_setting('app.user_id', true), '')::int);
BEGIN
  IF p_order = 'price' THEN
    RETURN QUERY SELECT p.id FROM plan p JOIN consultant_profile e ON e.id = p.expert_id
     WHERE p.active AND e.verification_status = 'VERIFIED'
       AND (p.visibility = 'PUBLIC' OR p.organization_id = ANY (orgs))
       AND (q IS NULL OR p.search @@ q) AND (p_type IS NULL OR p.type = p_type)
       AND (p_category IS NULL OR p.category = p_category) AND (p_min IS NULL OR p.price_paise >= p_min)
       AND (p_max IS NULL OR p.price_paise <= p_max) AND (p_minutes IS NULL OR p.duration_minutes <= p_minutes)
       AND (p_expert IS NULL OR p.expert_id = p_expert) AND (p_host IS NULL OR p.organization_id = p_host)
       AND (p_id IS NULL OR (p.price_paise, p.id) > (p_price, p_id))
     ORDER BY p.price_paise, p.id LIMIT p_limit;
  ELSE
    RETURN QUERY SELECT p.id FROM plan p JOIN consultant_profile e ON e.id = p.expert_id
     WHERE p.active AND e.verification_status = 'VERIFIED'
       AND (p.visibility = 'PUBLIC' OR p.organization_id = ANY (orgs))
       AND (q IS NULL OR p.search @@ q) AND (p_type IS NULL OR p.type = p_type)
       AND (p_category IS NULL OR p.category = p_category) AND (p_min IS NULL OR p.price_paise >= p_min)
       AND (p_max IS NULL OR p.price_paise <= p_max) AND (p_minutes IS NULL OR p.duration_minutes <= p_minutes)
       AND (p_expert IS NULL OR p.expert_id = p_expert) AND (p_host IS NULL OR p.organization_id = p_host)
       AND (p_id IS NULL OR (p.created_at, p.id) < (p_at, p_id))
     ORDER BY p.created_at DESC, p.id DESC LIMIT p_limit;
  END IF;
END $$;

-- How many of the first p_most plans of a search fall into each type and category.
CREATE OR REPLACE FUNCTION catalogue_facets(p_words text[], p_min bigint, p_max bigint, p_minutes int, p_host bigint,
                                            p_most int)
RETURNS TABLE (type text, category text, plans bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
  q tsquery := CASE WHEN p_words IS NULL THEN NULL ELSE catalogue_query(p_words) END;
  orgs bigint[] := ARRAY(SELECT m.organization_id FROM membership m WHERE m.status = 'ACTIVE'
                          AND m.user_id = nullif(current_setting('app.user_id', true), '')::int);
BEGIN
  RETURN QUERY SELECT f.type::text, f.category::text, count(*) FROM (
    SELECT p.type, p.category FROM plan p JOIN consultant_profile e ON e.id = p.expert_id
     WHERE p.active AND e.verification_status = 'VERIFIED'
       AND (p.visibility = 'PUBLIC' OR p.organization_id = ANY (orgs))
       AND (q IS NULL OR p.search @@ q) AND (p_min IS NULL OR p.price_paise >= p_min)
       AND (p_max IS NULL OR p.price_paise <= p_max) AND (p_minutes IS NULL OR p.duration_minutes <= p_minutes)
       AND (p_host IS NULL OR p.organization_id = p_host)
     LIMIT p_most) f GROUP BY 1, 2;
END $$;

-- Seats taken: live registrations, holds that are not over, and offers to people who wait.
CREATE OR REPLACE FUNCTION event_seats(p_events bigint[], p_at timestamptz, p_but int DEFAULT NULL)
RETURNS TABLE (event_id bigint, taken bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT e.id,
         (SELECT count(*) FROM appointment a WHERE a.event_id = e.id AND (a.status IN ('CONFIRMED', 'COMPLETED', 'NO_SHOW')
            OR (a.status = 'TENTATIVE' AND EXISTS (SELECT FROM payment p WHERE p.appointment_id = a.id
                 AND p.status = 'PENDING' AND p.expires_at > p_at))))
       + (SELECT count(*) FROM waitlist_entry w WHERE w.event_id = e.id AND w.status = 'NOTIFIED' AND w.expires_at > p_at
            AND w.user_id IS DISTINCT FROM p_but
            AND NOT EXISTS (SELECT FROM appointment a WHERE a.event_id = e.id AND a.learner_user_id = w.user_id
                             AND a.status IN ('TENTATIVE', 'CONFIRMED')))
    FROM unnest(p_events) AS e(id)
$$;

-- A seat for a person, judged under the event's row, so that the last seat is given once (2.3, 2.6 step 5). A key that
-- was used already is left to the booking, which answers it again. Raises EVENT_NOT_OPEN, ALREADY_REGISTERED, EVENT_FULL.
CREATE OR REPLACE FUNCTION event_seat_take(p_event bigint, p_user int, p_scope text, p_key text, p_final boolean,
                                           p_at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  ev event%ROWTYPE;
  wanted int;
BEGIN
  SELECT * INTO ev FROM event WHERE id = p_event FOR NO KEY UPDATE;
  IF EXISTS (SELECT FROM idempotency_key k WHERE k.scope = p_scope AND k.key = p_key) THEN
    RETURN;
  END IF;
  SELECT CASE p.type WHEN 'CLASS' THEN p.total_sessions ELSE 1 END INTO wanted FROM plan p WHERE p.id = ev.plan_id;
  IF ev.id IS NULL OR ev.status <> 'OPEN' OR ev.starts_at IS NULL OR ev.starts_at <= p_at
     OR (SELECT count(*) FROM event_session s WHERE s.event_id = ev.id) < wanted THEN
    RAISE EXCEPTION 'EVENT_NOT_OPEN' USING ERRCODE = 'CL001';
  END IF;
  UPDATE appointment a SET status = 'EXPIRED' WHERE a.event_id = ev.id AND a.learner_user_id = p_user
     AND a.status = 'TENTATIVE' AND NOT EXISTS (SELECT FROM payment p WHERE p.appointment_id = a.id
       AND (p.status = 'SUCCEEDED' OR (p.status = 'PENDING' AND p.expires_at > p_at)));
  IF EXISTS (SELECT FROM appointment a WHERE a.event_id = ev.id AND a.learner_user_id = p_user
              AND a.status IN ('TENTATIVE', 'CONFIRMED', 'COMPLETED', 'NO_SHOW')) THEN
    RAISE EXCEPTION 'ALREADY_REGISTERED' USING ERRCODE = 'CL001';
  END IF;
  IF (SELECT taken FROM event_seats(ARRAY[ev.id], p_at, p_user)) >= ev.capacity THEN
    RAISE EXCEPTION 'EVENT_FULL' USING ERRCODE = 'CL001';
  END IF;
  IF p_final THEN
    UPDATE waitlist_entry SET status = 'BOOKED' WHERE event_id = ev.id AND user_id = p_user
       AND status IN ('WAITING', 'NOTIFIED');
  END IF;
END $$;

-- The shares of a plan's collaborators, its owner among them, add up to the whole.
CREATE OR REPLACE FUNCTION plan_shares_whole() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  subject bigint := coalesce(NEW.plan_id, OLD.plan_id);
  total bigint;
BEGIN
  SELECT sum(revenue_share_bps) INTO total FROM plan_collaborator WHERE plan_id = subject;
  IF total <> 10000 OR (total IS NOT NULL AND NOT EXISTS (
       SELECT FROM plan_collaborator c JOIN plan p ON p.id = c.plan_id AND p.expert_id = c.expert_id WHERE c.plan_id = subject))
  THEN
    RAISE EXCEPTION 'the shares of plan % must be its owner''s and others'', 10000 bps in all', subject
      USING ERRCODE = '23514';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER plan_shares_whole AFTER INSERT OR UPDATE OR DELETE ON plan_collaborator
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION plan_shares_whole();
