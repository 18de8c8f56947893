"""The sweep: profiles, their jobs, and what they take."""
