-- Single sign-on: what must be known before anybody is signed in. Owned by the owner role, callable by the web role.

-- What governs the sign-in of addresses at a domain; NULL when no organisation verified it. Without p_full only when
-- enforced: then it costs a request one index look-up.
CREATE OR REPLACE FUNCTION sso_facts(p_domain text, p_now timestamptz, p_full boolean) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  c domain_claim;
  o organization;
  s sso_settings;
  scoped boolean;
  enforced boolean;
BEGIN
  SELECT * INTO c FROM domain_claim
   WHERE domain = lower(p_domain) AND verified_at IS NOT NULL AND lapsed_at IS NULL;
  IF NOT FOUND THEN RETURN NULL; END IF;
  SELECT * INTO s FROM sso_settings WHERE organization_id = c.organization_id;
  IF NOT FOUND AND NOT p_full THEN RETURN NULL; END IF;
  scoped := jsonb_array_length(coalesce(s.allowed_email_domains, '[]')) = 0 OR s.allowed_email_domains ? c.domain;
  enforced := coalesce(s.enforce_sso, false) AND scoped AND coalesce(s.break_glass_until <= p_now, true);
  IF NOT enforced AND NOT p_full THEN RETURN NULL; END IF;
  SELECT * INTO o FROM organization WHERE id = c.organization_id;
  RETURN jsonb_build_object(
    'domain', c.domain, 'organization_id', o.id, 'organization_name', o.name, 'slug', o.slug, 'status', o.status,
    'enforced', enforced AND o.status = 'ACTIVE', 'in_scope', scoped, 'wanted', coalesce(s.enforce_sso, false),
    'providers', (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'provider_id', p.provider_id, 'name', p.name, 'protocol', p.protocol, 'sso_url', p.sso_url,
        'idp_entity_id', p.idp_entity_id, 'issuer', p.issuer, 'client_id', p.client_id,
        'authorize', p.discovery->>'authorization_endpoint', 'token', p.discovery->>'token_endpoint',
        'keys', p.discovery->>'jwks_uri',
        'certificates', (SELECT coalesce(jsonb_agg(k.pem), '[]') FROM sso_certificate k WHERE k.sso_provider_id = p.id))
        ORDER BY p.id), '[]')
      FROM sso_provider p
     WHERE p.organization_id = o.id AND p.enabled AND (p.domain = c.domain OR p.extra_domains ? c.domain)));
END $$;

-- Whose provider this is; the way in of sign-ins that begin with nobody.
CREATE OR REPLACE FUNCTION sso_provider_door(p_provider text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT organization_id FROM sso_provider WHERE provider_id = p_provider
$$;

-- Which organisation holds a domain, verified and not lapsed.
CREATE OR REPLACE FUNCTION domain_holder(p_domain text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT organization_id FROM domain_claim
   WHERE domain = lower(p_domain) AND verified_at IS NOT NULL AND lapsed_at IS NULL
$$;

-- Whose unused recovery code this is, if the address is that of an ACTIVE owner.
CREATE OR REPLACE FUNCTION sso_recovery_door(p_email text, p_hash text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT jsonb_build_object('organization_id', r.organization_id, 'user_id', r.user_id, 'membership_id', m.id)
    FROM sso_recovery_code r
    JOIN ab_user u ON u.id = r.user_id
    JOIN membership m ON m.organization_id = r.organization_id AND m.user_id = r.user_id
   WHERE r.code_hash = p_hash AND r.used_at IS NULL AND lower(u.email) = lower(p_email)
     AND m.role = 'OWNER' AND m.status = 'ACTIVE' AND u.active AND u.erased_at IS NULL
$$;
