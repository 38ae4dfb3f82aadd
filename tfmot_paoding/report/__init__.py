"""What pruning did to a model, for people and for programs."""

from tfmot_paoding.network.agreement import Verdict
from tfmot_paoding.report.data import CurvePoint, Report
from tfmot_paoding.report.judging import judge
from tfmot_paoding.report.macs import count_macs
from tfmot_paoding.report.writing import (
  curve_point,
  make_report,
  write_report,
)

__all__ = [
  'CurvePoint',
  'Report',
  'Verdict',
  'count_macs',
  'curve_point',
  'judge',
  'make_report',
  'write_report',
]
