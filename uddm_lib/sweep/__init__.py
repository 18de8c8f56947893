"""The sweep: profiles, the notebooks they ask for, and how Snakemake runs them."""
