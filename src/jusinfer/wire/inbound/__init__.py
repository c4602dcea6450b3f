"""The client APIs: requests read, answers and streams written."""
