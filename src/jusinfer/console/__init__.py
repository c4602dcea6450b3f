"""The control plane's web: people, money and rights; it never sees a prompt."""
