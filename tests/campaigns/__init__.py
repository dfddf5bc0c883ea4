"""Many seeded mishaps at once: settings and run folders made wrong by rule. `make campaign-...` runs them."""
