"""The gateway's own paths beside inference, and the proxy to the console."""
