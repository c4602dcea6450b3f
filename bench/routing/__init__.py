"""How good the router's rules are: measured on paired outcomes, beside simpler rules."""
