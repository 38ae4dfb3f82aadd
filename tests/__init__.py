"""Tests of tfmot_paoding."""
