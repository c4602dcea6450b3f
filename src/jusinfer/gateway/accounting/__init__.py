"""What a worker knows of keys, credit and limits, and the journal that it writes."""
