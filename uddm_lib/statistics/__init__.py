"""Statistics of tables: means with intervals, the transition, the claims, a sweep's tables."""
