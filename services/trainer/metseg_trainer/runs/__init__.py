"""A run from folder to champion: plan, steps, locks, and its record in the store."""
