"""The only room with SQL: PostgreSQL, embedded or the operator's own."""
