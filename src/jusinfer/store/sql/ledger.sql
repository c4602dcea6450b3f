-- The ledger: transfers are only added, and each is folded into its accounts.

CREATE OR REPLACE FUNCTION jusinfer_refuse_change() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: write a transfer that corrects';
END $$;

CREATE OR REPLACE FUNCTION jusinfer_fold_transfers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
  -- Accounts are locked in one order, by everyone, so that nobody waits in a ring.
  PERFORM 1 FROM ledger_account a WHERE a.account_id IN (
    SELECT debit_account_id FROM added UNION SELECT credit_account_id FROM added)
  ORDER BY a.account_id FOR UPDATE;
  UPDATE ledger_account a SET debits_posted_nano = a.debits_posted_nano + s.debits_nano,
    credits_posted_nano = a.credits_posted_nano + s.credits_nano
  FROM (
    SELECT e.account_id, sum(e.debit_nano)::bigint AS debits_nano,
      sum(e.credit_nano)::bigint AS credits_nano
    FROM (
      SELECT debit_account_id AS account_id, amount_nano AS debit_nano, 0 AS credit_nano FROM added
      UNION ALL SELECT credit_account_id, 0, amount_nano FROM added
    ) e GROUP BY e.account_id
  ) s WHERE a.account_id = s.account_id;
  RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER ledger_transfer_append_only BEFORE UPDATE OR DELETE ON ledger_transfer
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_change();
CREATE OR REPLACE TRIGGER ledger_transfer_no_truncate BEFORE TRUNCATE ON ledger_transfer
  FOR EACH STATEMENT EXECUTE FUNCTION jusinfer_refuse_change();
CREATE OR REPLACE TRIGGER grant_draw_append_only BEFORE UPDATE OR DELETE ON grant_draw
  FOR EACH ROW EXECUTE FUNCTION jusinfer_refuse_change();
CREATE OR REPLACE TRIGGER grant_draw_no_truncate BEFORE TRUNCATE ON grant_draw
  FOR EACH STATEMENT EXECUTE FUNCTION jusinfer_refuse_change();
CREATE OR REPLACE TRIGGER ledger_transfer_fold AFTER INSERT ON ledger_transfer
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION jusinfer_fold_transfers();
