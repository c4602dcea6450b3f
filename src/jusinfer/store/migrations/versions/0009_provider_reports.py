"""What providers say afterwards that completions cost us, where they broke off before saying it."""

from alembic import op

revision = "0009"
down_revision = "0008"

ROLE = """
DO $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'jusinfer_reconciler') THEN
    CREATE ROLE jusinfer_reconciler NOLOGIN;
  END IF;
  GRANT jusinfer_reconciler TO CURRENT_USER;
END $$;
"""

TABLES = """
SET LOCAL lock_timeout = '30s';
ALTER TABLE usage_record ADD COLUMN provider_generation_id text;
CREATE TABLE provider_report (
  completion_id uuid PRIMARY KEY,
  admitted_at timestamptz NOT NULL,
  tenant_id uuid NOT NULL,
  upstream text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  asked_count integer NOT NULL DEFAULT 0 CHECK (asked_count >= 0),
  next_at timestamptz,
  reported_cost_pico bigint CHECK (reported_cost_pico >= 0),
  prompt_tokens bigint CHECK (prompt_tokens >= 0),
  completion_tokens bigint CHECK (completion_tokens >= 0),
  reported_at timestamptz,
  failure text CHECK (length(failure) <= 64),
  CHECK ((reported_at IS NULL) = (reported_cost_pico IS NULL)),
  CHECK (reported_at IS NULL OR (next_at IS NULL AND failure IS NULL)),
  CHECK (num_nonnulls(next_at, reported_at, failure) > 0)
);
CREATE INDEX provider_report_due ON provider_report (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX provider_report_tenant ON provider_report (tenant_id, admitted_at);
"""

FUNCTIONS = """
-- The settler's: once for each row, in the transaction that posts it.
CREATE FUNCTION jusinfer_expect_reports(
  completions uuid[], admitted_us bigint[], tenants uuid[], upstreams text[],
  first_seconds integer)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO provider_report (completion_id, admitted_at, tenant_id, upstream, next_at)
  SELECT e.completion_id, timestamptz 'epoch' + e.admitted_us * interval '1 microsecond',
    e.tenant_id, e.upstream, now() + make_interval(secs => first_seconds)
  FROM unnest(completions, admitted_us, tenants, upstreams)
    AS e (completion_id, admitted_us, tenant_id, upstream)
  ON CONFLICT DO NOTHING
$$;
-- Counts a question before it is asked, so that whoever dies while asking only asks again later.
CREATE FUNCTION jusinfer_due_reports(
  of_upstreams text[], delays integer[], give_up_seconds integer, rows_max integer)
RETURNS TABLE (completion_id uuid, upstream text, provider_generation_id text)
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  WITH due AS (
    SELECT r.completion_id FROM provider_report r
    WHERE r.next_at <= now() AND r.upstream = ANY (of_upstreams)
      AND (r.asked_count = 0 OR r.created_at > now() - make_interval(secs => give_up_seconds))
    ORDER BY r.next_at LIMIT rows_max FOR UPDATE SKIP LOCKED
  ), asked AS (
    UPDATE provider_report r SET asked_count = r.asked_count + 1,
      next_at = now() + make_interval(
        secs => delays[LEAST(r.asked_count + 2, cardinality(delays))])
    FROM due WHERE r.completion_id = due.completion_id
    RETURNING r.completion_id, r.admitted_at, r.upstream
  )
  SELECT a.completion_id, a.upstream, u.provider_generation_id
  FROM asked a JOIN usage_record u
    ON u.completion_id = a.completion_id AND u.admitted_at = a.admitted_at
  WHERE u.provider_generation_id IS NOT NULL
$$;
CREATE FUNCTION jusinfer_note_report(
  of_completion uuid, cost_pico bigint, prompt bigint, completion bigint)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  UPDATE provider_report SET reported_cost_pico = cost_pico, prompt_tokens = prompt,
    completion_tokens = completion, reported_at = now(), next_at = NULL, failure = NULL
  WHERE completion_id = of_completion AND next_at IS NOT NULL
  RETURNING true
$$;
CREATE FUNCTION jusinfer_note_no_report(of_completion uuid, code text)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  UPDATE provider_report SET failure = code
  WHERE completion_id = of_completion AND next_at IS NOT NULL
  RETURNING true
$$;
-- Whatever is too old is given up, asked or not; the code is that of the last question.
CREATE FUNCTION jusinfer_give_up_reports(of_upstreams text[], give_up_seconds integer)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  WITH given_up AS (
    UPDATE provider_report SET next_at = NULL, failure = COALESCE(failure,
      CASE asked_count WHEN 0 THEN 'not_asked' ELSE 'unanswered' END)
    WHERE next_at IS NOT NULL AND created_at <= now() - make_interval(secs => give_up_seconds)
      AND (asked_count > 0 OR upstream <> ALL (of_upstreams))
    RETURNING 1
  )
  SELECT count(*) FROM given_up
$$;
CREATE OR REPLACE FUNCTION jusinfer_own_completion(of_member uuid, in_mode text, wanted uuid)
RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT to_jsonb(u) - 'tenant_id' - 'member_id' - 'lease_id' - 'transfer_id' - 'country'
    - 'bound_nano' - 'reported_cost_pico' - 'provider_generation_id'
  FROM usage_record u
  WHERE u.completion_id = wanted AND u.member_id = of_member AND u.mode = in_mode
  LIMIT 1
$$;
"""

GRANTS = """
REVOKE ALL ON FUNCTION jusinfer_expect_reports, jusinfer_due_reports, jusinfer_note_report,
  jusinfer_note_no_report, jusinfer_give_up_reports FROM PUBLIC;
GRANT EXECUTE ON FUNCTION jusinfer_expect_reports TO jusinfer_settler;
GRANT EXECUTE ON FUNCTION jusinfer_due_reports, jusinfer_note_report, jusinfer_note_no_report,
  jusinfer_give_up_reports TO jusinfer_reconciler;
GRANT USAGE ON SCHEMA public TO jusinfer_reconciler;
GRANT SELECT ON provider_report TO jusinfer_control, jusinfer_operator;
ALTER TABLE provider_report ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_report FORCE ROW LEVEL SECURITY;
CREATE POLICY provider_report_own ON provider_report TO jusinfer_control USING
  (tenant_id = NULLIF(current_setting('jusinfer.tenant_id', true), '')::uuid);
CREATE POLICY provider_report_operator ON provider_report TO jusinfer_operator USING (true);
CREATE POLICY provider_report_house ON provider_report TO CURRENT_USER USING (true);
"""


def upgrade() -> None:
    """Keep reports of providers."""
    for statements in (ROLE, TABLES, FUNCTIONS, GRANTS):
        op.execute(statements)
