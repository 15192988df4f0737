"""What the page says: short messages, table rows and sentences, from the contracts that the gateway returns."""
