"""The worker of metseg: takes jobs from the queue and segments them."""
