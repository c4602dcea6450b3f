-- The audit log: one way to write an entry, none to change it.

CREATE OR REPLACE FUNCTION jusinfer_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = '42501';
END $$;
CREATE OR REPLACE FUNCTION jusinfer_advance_audit_head() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF NEW.seq <> OLD.seq + 1 THEN
    RAISE EXCEPTION 'the head of the audit log moves by one' USING ERRCODE = '42501';
  END IF;
  RETURN NEW;
END $$;

-- The transaction's tenant; a transaction that names none is refused, never taken for any.
CREATE OR REPLACE FUNCTION jusinfer_own_tenant() RETURNS uuid LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE own text := NULLIF(current_setting('jusinfer.tenant_id', true), '');
BEGIN
  IF own IS NULL THEN
    RAISE EXCEPTION 'this transaction names no tenant' USING ERRCODE = '42501';
  END IF;
  RETURN own::uuid;
END $$;
-- What an entry's digest is the SHA-256 of; domain/audit_chain.py writes the same text.
CREATE OR REPLACE FUNCTION jusinfer_audit_text(e audit_entry, before bytea) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, public, pg_temp AS $$
  SELECT 'v1;' || string_agg(
    CASE WHEN f.value IS NULL THEN '-;' ELSE length(f.value) || ':' || f.value || ';' END,
    '' ORDER BY f.place)
  FROM unnest(ARRAY[
    encode(before, 'hex'), e.seq::text, (extract(epoch FROM e.at) * 1000000)::bigint::text,
    e.actor_kind, e.actor_id, e.how, e.origin, e.network::text,
    replace(e.tenant_id::text, '-', ''), e.action, e.outcome, e.object_kind, e.object_id
  ]) WITH ORDINALITY AS f (value, place)
$$;

-- The one way to write an entry. The head's row lets one transaction through at a time, until it
-- commits or rolls back: numbers have no holes, and each entry knows the one before it.
CREATE OR REPLACE FUNCTION jusinfer_append_audit(
  of_kind text, of_actor text, of_how text, of_origin text, of_network cidr, of_tenant uuid,
  of_action text, of_outcome text, of_object_kind text, of_object text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE head audit_head;
DECLARE e audit_entry;
BEGIN
  IF of_action <> ALL (ARRAY[
    'tenant.create', 'tenant.find', 'tenant.list', 'tenant.terms', 'tenant.policy',
    'key.issue', 'key.list', 'key.revoke', 'credit.grant', 'credit.adjust', 'credit.read',
    'limit.set', 'limit.read', 'spend_limit.add', 'spend_limit.remove', 'spend_limit.read', 'usage.read',
    'receipt.read', 'ledger.verify', 'rules.activate', 'schema.migrate',
    'audit.read', 'audit.verify'
  ]) THEN
    RAISE EXCEPTION 'the audit log knows no action %', of_action USING ERRCODE = '22023';
  END IF;
  SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
  e.seq := head.seq + 1;
  e.at := clock_timestamp();
  e.actor_kind := of_kind;
  e.actor_id := of_actor;
  e.how := of_how;
  e.origin := of_origin;
  e.network := of_network;
  e.tenant_id := of_tenant;
  e.action := of_action;
  e.outcome := of_outcome;
  e.object_kind := of_object_kind;
  e.object_id := of_object;
  e.digest := sha256(convert_to(jusinfer_audit_text(e, head.digest), 'UTF8'));
  INSERT INTO audit_entry SELECT e.*;
  UPDATE audit_head SET seq = e.seq, digest = e.digest;
  RETURN e.seq;
END $$;

-- For whoever runs the installation: of the transaction's tenant if it names one, and never in the
-- name of a member.
CREATE OR REPLACE FUNCTION jusinfer_audit_operator(
  is_process boolean, of_actor text, of_how text, of_origin text, of_action text,
  of_outcome text, of_object_kind text, of_object text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  IF (is_process IS NOT NULL AND of_how = CASE WHEN is_process THEN 'process' ELSE 'cli' END AND of_origin IN ('cli', 'process'))
    IS NOT TRUE THEN
    RAISE EXCEPTION 'no operator acts by % from %', of_how, of_origin USING ERRCODE = '42501';
  END IF;
  RETURN jusinfer_append_audit(CASE WHEN is_process THEN 'process' ELSE 'operator' END,
    of_actor, of_how, of_origin, NULL,
    NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid,
    of_action, of_outcome, of_object_kind, of_object);
END $$;

-- For people: of the transaction's own tenant, and in the name of a member of it.
CREATE OR REPLACE FUNCTION jusinfer_audit_member(
  of_member uuid, of_how text, of_origin text, of_network cidr,
  of_action text, of_outcome text, of_object_kind text, of_object text)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE own uuid := jusinfer_own_tenant();
BEGIN
  IF NOT EXISTS (SELECT 1 FROM member m WHERE m.member_id = of_member AND m.tenant_id = own) THEN
    RAISE EXCEPTION 'no such member of this tenant' USING ERRCODE = '42501';
  END IF;
  -- People come by a session or a key, and what only an operator may do they can only be denied.
  IF (of_how IN ('session', 'key') AND of_origin = 'console' AND (of_outcome = 'denied'
      OR of_action IN ('tenant.policy', 'key.issue', 'key.list', 'key.revoke', 'credit.read',
        'limit.read', 'spend_limit.add', 'spend_limit.remove', 'spend_limit.read', 'usage.read', 'audit.read')))
    IS NOT TRUE THEN
    RAISE EXCEPTION 'no member does % by %', of_action, of_how USING ERRCODE = '42501';
  END IF;
  RETURN jusinfer_append_audit('member', replace(of_member::text, '-', ''), of_how, of_origin,
    of_network, own, of_action, of_outcome, of_object_kind, of_object);
END $$;

CREATE OR REPLACE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_audit_change();
CREATE OR REPLACE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry
  FOR EACH STATEMENT EXECUTE FUNCTION jusinfer_refuse_audit_change();
CREATE OR REPLACE TRIGGER audit_head_by_one BEFORE UPDATE ON audit_head
  FOR EACH ROW EXECUTE FUNCTION jusinfer_advance_audit_head();
CREATE OR REPLACE TRIGGER audit_head_stays BEFORE DELETE ON audit_head
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_audit_change();
CREATE OR REPLACE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON audit_head
  FOR EACH STATEMENT EXECUTE FUNCTION jusinfer_refuse_audit_change();
-- Also where a session says that it replicates.
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_append_only,
  ENABLE ALWAYS TRIGGER audit_entry_no_truncate;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER audit_head_by_one,
  ENABLE ALWAYS TRIGGER audit_head_stays, ENABLE ALWAYS TRIGGER audit_head_no_truncate;

GRANT EXECUTE ON FUNCTION jusinfer_audit_member TO jusinfer_web;
GRANT EXECUTE ON FUNCTION jusinfer_audit_operator TO jusinfer_operator;
