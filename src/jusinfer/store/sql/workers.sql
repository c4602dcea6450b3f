-- Gateway workers: that they live.

CREATE OR REPLACE FUNCTION jusinfer_register(worker uuid, journal_name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  -- The name of a file, never a path or a text.
  IF journal_name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$' THEN
    RAISE EXCEPTION 'a journal has no such name' USING ERRCODE = '22023';
  END IF;
  INSERT INTO gateway_worker (worker_id, journal) VALUES (worker, journal_name)
  ON CONFLICT (worker_id) DO UPDATE SET heartbeat_at = now();
END $$;
GRANT EXECUTE ON FUNCTION jusinfer_register TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_heartbeat(worker uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  UPDATE gateway_worker SET heartbeat_at = now() WHERE worker_id = worker
$$;
GRANT EXECUTE ON FUNCTION jusinfer_heartbeat TO jusinfer_gateway;

CREATE OR REPLACE FUNCTION jusinfer_deregister(worker uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
  UPDATE gateway_worker SET state = 'stopped' WHERE worker_id = worker AND state = 'live'
$$;
GRANT EXECUTE ON FUNCTION jusinfer_deregister TO jusinfer_gateway;
