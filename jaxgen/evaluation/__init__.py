"""Judging what was learnt."""
