-- Who is behind an API key, in one round trip, and the transaction's settings with it. Its holder acts for one
-- organisation with the creator's present membership there, and is nobody as soon as that membership is not ACTIVE.
-- The caller compares key_hash; the look-up hash is keyed with the application's secret.
CREATE OR REPLACE FUNCTION identify_api_key(p_lookup text, p_now timestamptz) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
  a record;
  k record;
  u ab_user;
  org jsonb;
BEGIN
  SELECT id, key_hash, active, revoked_on INTO a FROM ab_api_key WHERE lookup_hash = p_lookup;
  IF NOT FOUND OR NOT a.active OR a.revoked_on IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT * INTO k FROM org_api_key WHERE api_key_id = a.id;
  IF NOT FOUND OR k.revoked_at IS NOT NULL OR k.expires_at IS NULL OR k.expires_at <= p_now THEN
    RETURN NULL;
  END IF;
  SELECT * INTO u FROM ab_user WHERE id = k.user_id;
  IF u.active IS NOT TRUE OR u.erased_at IS NOT NULL THEN
    RETURN NULL;
  END IF;
  SELECT jsonb_build_object(
           'organization_id', o.id, 'public_id', o.public_id, 'name', o.name, 'slug', o.slug, 'logo', o.logo,
           'status', o.status, 'can_sponsor', o.can_sponsor, 'can_host', o.can_host, 'requires_po', o.requires_po,
           'funding_source', b.funding_source, 'wallet_balance_paise', b.wallet_balance_paise,
           'membership_id', m.id, 'role', m.role, 'membership_status', m.status,
           'department_label', m.department_label) INTO org
    FROM membership m JOIN organization o ON o.id = m.organization_id
    LEFT JOIN billing_account b ON b.organization_id = o.id
   WHERE m.organization_id = k.organization_id AND m.user_id = k.user_id AND m.status = 'ACTIVE';
  IF org IS NULL THEN
    RETURN NULL;
  END IF;
  IF k.last_used_at IS NULL OR k.last_used_at < p_now - interval '5 minutes' THEN
    UPDATE org_api_key SET last_used_at = p_now WHERE id = k.id;
  END IF;
  PERFORM set_config('app.user_id', u.id::text, true), set_config('app.scope', 'org', true),
          set_config('app.org_id', org->>'organization_id', true), set_config('app.token', '', true);
  RETURN jsonb_build_object(
    'key', jsonb_build_object('id', k.id, 'public_id', k.public_id, 'hash', a.key_hash, 'access', k.access,
      'resources', k.resources),
    'user', jsonb_build_object('id', u.id, 'public_id', u.public_id, 'email', u.email, 'first_name', u.first_name,
      'last_name', u.last_name, 'platform_role', 'CONSULTEE', 'timezone', u.timezone, 'image', u.image,
      'onboarding_completed', u.onboarding_completed, 'email_verified', u.email_verified_at IS NOT NULL),
    'memberships', jsonb_build_array(org), 'organization', org);
END $$;
