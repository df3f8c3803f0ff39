-- Who is behind a session key, in one round trip, and the transaction's settings with it.
-- An open support access of ADMIN or STAFF comes first: then nothing but reading is possible there, whoever they are.
-- What enforces single sign-on is asked only where somebody does: one index look-up for all other addresses.
-- A definer function, because nobody is known before the key is: it answers for the holder of the secret only.
CREATE OR REPLACE FUNCTION identify_session(p_hash text, p_org text, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  s user_session;
  u ab_user;
  orgs jsonb;
  org jsonb;
  support jsonb;
BEGIN
  SELECT * INTO s FROM user_session WHERE key_hash = p_hash;
  IF NOT FOUND OR s.revoked_at IS NOT NULL OR s.expires_at <= p_now
     OR (s.idle_seconds IS NOT NULL AND s.last_seen_at + make_interval(secs => s.idle_seconds) <= p_now) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO u FROM ab_user WHERE id = s.user_id;
  IF u.active IS NOT TRUE OR u.erased_at IS NOT NULL THEN
    RETURN NULL;
  END IF;
  IF s.last_seen_at < p_now - interval '60 seconds' OR s.generation <> u.session_generation THEN
    UPDATE user_session SET last_seen_at = p_now, generation = u.session_generation,
           expires_at = CASE WHEN sliding THEN p_now + (s.expires_at - s.last_seen_at) ELSE expires_at END
     WHERE id = s.id;
  END IF;
  SELECT coalesce(jsonb_agg(jsonb_build_object(
           'organization_id', o.id, 'public_id', o.public_id, 'name', o.name, 'slug', o.slug, 'logo', o.logo,
           'status', o.status, 'can_sponsor', o.can_sponsor, 'can_host', o.can_host, 'requires_po', o.requires_po,
           'funding_source', b.funding_source, 'wallet_balance_paise', b.wallet_balance_paise,
           'primary_color', o.primary_color, 'verification_reason', o.verification_reason,
           'membership_id', m.id, 'role', m.role, 'membership_status', m.status, 'department_label', m.department_label)
           ORDER BY array_position(ARRAY['OWNER','MAINTAINER','BILLING_ADMIN','MANAGER','EXPERT','SUPPORT','LEARNER'],
                                   m.role::text), o.slug), '[]') INTO orgs
    FROM membership m JOIN organization o ON o.id = m.organization_id
    LEFT JOIN billing_account b ON b.organization_id = o.id
   WHERE m.user_id = u.id AND m.status IN ('ACTIVE', 'SUSPENDED');
  IF p_org <> '' THEN
    IF u.platform_role IN ('ADMIN', 'STAFF') THEN
      SELECT jsonb_build_object('id', a.id, 'public_id', a.public_id, 'reason', a.reason, 'started_at', a.created_at,
             'expires_at', a.expires_at) INTO support
        FROM support_access a JOIN organization o ON o.id = a.organization_id
       WHERE a.user_id = u.id AND a.ended_at IS NULL AND a.expires_at > p_now
         AND (o.slug = p_org OR o.public_id::text = p_org)
       ORDER BY a.id DESC LIMIT 1;
    END IF;
    IF support IS NULL THEN
      SELECT e INTO org FROM jsonb_array_elements(orgs) AS e WHERE e->>'slug' = p_org OR e->>'public_id' = p_org;
    END IF;
    IF org IS NULL AND (support IS NOT NULL OR u.platform_role = 'ADMIN') THEN
      SELECT jsonb_build_object('organization_id', o.id, 'public_id', o.public_id, 'name', o.name, 'slug', o.slug,
             'logo', o.logo, 'status', o.status, 'can_sponsor', o.can_sponsor, 'can_host', o.can_host,
             'requires_po', o.requires_po, 'funding_source', b.funding_source,
             'primary_color', o.primary_color, 'verification_reason', o.verification_reason,
             'wallet_balance_paise', b.wallet_balance_paise) INTO org
        FROM organization o LEFT JOIN billing_account b ON b.organization_id = o.id
       WHERE o.slug = p_org OR o.public_id::text = p_org;
    END IF;
  END IF;
  PERFORM set_config('app.user_id', u.id::text, true), set_config('app.scope', 'org', true),
          set_config('app.org_id', coalesce(org->>'organization_id', ''), true), set_config('app.token', '', true);
  RETURN jsonb_build_object(
    'session', jsonb_build_object('id', s.id, 'method', s.method, 'created_at', s.created_at,
      'confirmed_at', s.confirmed_at, 'provider_id', s.provider_id, 'sso_exempt', s.sso_exempt),
    'sso', CASE WHEN s.sso_exempt OR u.platform_role IN ('ADMIN', 'STAFF') THEN NULL
                WHEN EXISTS (SELECT FROM domain_claim d JOIN sso_settings e ON e.organization_id = d.organization_id
                              WHERE d.domain = lower(split_part(u.email, '@', 2)) AND d.verified_at IS NOT NULL
                                AND d.lapsed_at IS NULL AND e.enforce_sso)
                THEN sso_facts(split_part(u.email, '@', 2), p_now, false) END,
    'user', jsonb_build_object('id', u.id, 'public_id', u.public_id, 'email', u.email, 'first_name', u.first_name,
      'last_name', u.last_name, 'platform_role', u.platform_role, 'timezone', u.timezone, 'image', u.image,
      'onboarding_completed', u.onboarding_completed, 'email_verified', u.email_verified_at IS NOT NULL),
    'memberships', orgs, 'organization', org, 'support', support);
END $$;
