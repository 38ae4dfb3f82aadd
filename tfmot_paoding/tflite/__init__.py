"""What runs on devices: conversion, the interpreters, and what files cost."""

from __future__ import annotations

from tfmot_paoding.tflite.c_array import write_c_array
from tfmot_paoding.tflite.comparison import Comparison, compare_tflite
from tfmot_paoding.tflite.convert import convert_to_tflite
from tfmot_paoding.tflite.litert import run_tflite
from tfmot_paoding.tflite.micro import MicroError, run_micro
from tfmot_paoding.tflite.profile import Latency, TFLiteProfile, profile_tflite

__all__ = [
  'Comparison',
  'Latency',
  'MicroError',
  'TFLiteProfile',
  'compare_tflite',
  'convert_to_tflite',
  'profile_tflite',
  'run_micro',
  'run_tflite',
  'write_c_array',
]
