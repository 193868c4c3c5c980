"""Figures and reports, from arrays and tables alone; nothing here calls a model."""
