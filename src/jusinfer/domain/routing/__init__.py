"""The router: from traits, policy, a rule table, a catalog and health to an explained plan."""
