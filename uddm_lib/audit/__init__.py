"""Audits: which regime a model is in, and which texts it has memorized."""
