"""Statistics of tables: intervals, the transition, the claims, a sweep's tables, comparisons."""
