"""The operations that layers lower to, and what each does to bounds."""

from tfmot_paoding.ops.at_step import AtStep
from tfmot_paoding.ops.attention import Attend, Shares
from tfmot_paoding.ops.base import (
  Array,
  Gain,
  Op,
  Opaque,
  Params,
  Rescaled,
  Shape,
  UnitBook,
  Unread,
  WeightAxes,
  WeightRef,
  attribute,
)
from tfmot_paoding.ops.cell_kinds import GRUCell, LSTMCell, SimpleCell
from tfmot_paoding.ops.cells import Cell
from tfmot_paoding.ops.channelwise import Line, Scale
from tfmot_paoding.ops.codes import Code
from tfmot_paoding.ops.conv_recurrence import ConvFeedback, ConvRecurrence
from tfmot_paoding.ops.convolutions import Conv, ConvTranspose, convolution
from tfmot_paoding.ops.depthwise import Depthwise, depthwise
from tfmot_paoding.ops.elementwise import Elementwise, LearnedSlope
from tfmot_paoding.ops.gates import Feedback, GateProduct
from tfmot_paoding.ops.joins import (
  Concatenate,
  Extreme,
  Multiply,
  WeightedSum,
)
from tfmot_paoding.ops.normalizations import (
  GroupNorm,
  LayerNorm,
  RootMeanSquare,
  UnitLength,
)
from tfmot_paoding.ops.numbering import core, last_axis
from tfmot_paoding.ops.pairs import KeyProjection, Pairs
from tfmot_paoding.ops.positions import Copies, Largest, Positions, Windows
from tfmot_paoding.ops.products import Lookup, MatMul, Product
from tfmot_paoding.ops.projections import Projection
from tfmot_paoding.ops.recurrent import Recurrence
from tfmot_paoding.ops.shapes import Permute, Reshape, Softmax
from tfmot_paoding.ops.single_attention import SingleAttention
from tfmot_paoding.ops.tables import Table
from tfmot_paoding.ops.takes import Take
from tfmot_paoding.ops.windows import Transposed, Window, window

__all__ = [
  'Array',
  'AtStep',
  'Attend',
  'Cell',
  'Code',
  'Concatenate',
  'Conv',
  'ConvFeedback',
  'ConvRecurrence',
  'ConvTranspose',
  'Copies',
  'Depthwise',
  'Elementwise',
  'Extreme',
  'Feedback',
  'GRUCell',
  'Gain',
  'GateProduct',
  'GroupNorm',
  'KeyProjection',
  'LSTMCell',
  'Largest',
  'LayerNorm',
  'LearnedSlope',
  'Line',
  'Lookup',
  'MatMul',
  'Multiply',
  'Op',
  'Opaque',
  'Pairs',
  'Params',
  'Permute',
  'Positions',
  'Product',
  'Projection',
  'Recurrence',
  'Rescaled',
  'Reshape',
  'RootMeanSquare',
  'Scale',
  'Shape',
  'Shares',
  'SimpleCell',
  'SingleAttention',
  'Softmax',
  'Table',
  'Take',
  'Transposed',
  'UnitBook',
  'UnitLength',
  'Unread',
  'WeightAxes',
  'WeightRef',
  'WeightedSum',
  'Window',
  'Windows',
  'attribute',
  'convolution',
  'core',
  'depthwise',
  'last_axis',
  'window',
]
