"""Which interpreters run a file: by its numbers, and by its operators."""

from __future__ import annotations

from tfmot_paoding import extras
from tfmot_paoding.quantization import Quantization
from tfmot_paoding.tflite.micro import check_micro
from tfmot_paoding.tflite.micro_process import MicroError


def runs_in(data: bytes, mode: Quantization) -> str:
  """The interpreters that run a file, in words.

  Numbers that tflite-micro computes with are not all: it lacks operators that
  LiteRT has, GELU say. Where it is installed, it is asked.

  Args:
    data: The flatbuffer.
    mode: How its numbers are stored.
  """
  if not (mode.on_micro and extras.MICRO.is_installed):
    return mode.runs_in
  try:
    check_micro(data)
  except MicroError as error:
    return f'LiteRT (phones). {error}'
  return mode.runs_in
