"""The provider APIs: requests written, answers, streams and errors read."""
