"""Concord: do statsmodels and lme4 agree on this mixed model, and if not, which one is right?"""
