-- How a person wants to hear of their organisations' events. Whoever causes an event may not read another person's
-- settings; this says one word of them and nothing else.
CREATE OR REPLACE FUNCTION notification_routing(p_user integer) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT coalesce((SELECT w.notification_routing_mode FROM org_workspace_profile w WHERE w.user_id = p_user),
                  'BELL_AND_EMAIL')
$$;
