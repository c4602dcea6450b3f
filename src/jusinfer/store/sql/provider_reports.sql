-- What providers say afterwards that completions cost.

-- The settler's: once for each row, in the transaction that posts it.
CREATE OR REPLACE FUNCTION jusinfer_expect_reports(
  completions uuid[], admitted_us bigint[], tenants uuid[], upstreams text[],
  first_seconds integer)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  INSERT INTO provider_report (completion_id, admitted_at, tenant_id, upstream, next_at)
  SELECT e.completion_id, timestamptz 'epoch' + e.admitted_us * interval '1 microsecond',
    e.tenant_id, e.upstream, now() + make_interval(secs => first_seconds)
  FROM unnest(completions, admitted_us, tenants, upstreams)
    AS e (completion_id, admitted_us, tenant_id, upstream)
  ON CONFLICT DO NOTHING
$$;
GRANT EXECUTE ON FUNCTION jusinfer_expect_reports TO jusinfer_settler;

-- Counts a question before it is asked, so that whoever dies while asking only asks again later.
CREATE OR REPLACE FUNCTION jusinfer_due_reports(
  of_upstreams text[], delays integer[], give_up_seconds integer, rows_max integer)
RETURNS TABLE (completion_id uuid, upstream text, provider_generation_id text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION jusinfer_due_reports TO jusinfer_reconciler;

CREATE OR REPLACE FUNCTION jusinfer_note_report(
  of_completion uuid, cost_pico bigint, prompt bigint, completion bigint)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  UPDATE provider_report SET reported_cost_pico = cost_pico, prompt_tokens = prompt,
    completion_tokens = completion, reported_at = now(), next_at = NULL, failure = NULL
  WHERE completion_id = of_completion AND next_at IS NOT NULL
  RETURNING true
$$;
GRANT EXECUTE ON FUNCTION jusinfer_note_report TO jusinfer_reconciler;

CREATE OR REPLACE FUNCTION jusinfer_note_no_report(of_completion uuid, code text)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  UPDATE provider_report SET failure = code
  WHERE completion_id = of_completion AND next_at IS NOT NULL
  RETURNING true
$$;
GRANT EXECUTE ON FUNCTION jusinfer_note_no_report TO jusinfer_reconciler;

-- Whatever is too old is given up, asked or not; the code is that of the last question.
CREATE OR REPLACE FUNCTION jusinfer_give_up_reports(of_upstreams text[], give_up_seconds integer)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  WITH given_up AS (
    UPDATE provider_report SET next_at = NULL, failure = COALESCE(failure,
      CASE asked_count WHEN 0 THEN 'not_asked' ELSE 'unanswered' END)
    WHERE next_at IS NOT NULL AND created_at <= now() - make_interval(secs => give_up_seconds)
      AND (asked_count > 0 OR upstream <> ALL (of_upstreams))
    RETURNING 1
  )
  SELECT count(*) FROM given_up
$$;
GRANT EXECUTE ON FUNCTION jusinfer_give_up_reports TO jusinfer_reconciler;
