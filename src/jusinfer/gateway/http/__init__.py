"""HTTP/1.1 on both sides: clients' connections and providers', bounded and with deadlines."""
