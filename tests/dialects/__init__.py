"""Tests of the dialects: pure functions of plain data."""
