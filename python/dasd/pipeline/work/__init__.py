"""What stages are made of: units of work, requests, rows under way, rows set aside."""
