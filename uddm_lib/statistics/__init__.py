"""Statistics of tables: means with bootstrap intervals, the transition, the claims, the tables of a whole sweep."""
