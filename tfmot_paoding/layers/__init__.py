"""One handler a layer family; importing this registers them all.

Sequential and functional models, nested ones too, with several inputs and
outputs, are made of these:

* units of these leave: Dense, Conv1D/2D/3D (strides, dilation, causal, groups),
  their transposes, SeparableConv1D/2D, Embedding, TimeDistributed around these;
  EinsumDense that is a product of the last axes, along the first that it makes;
  LSTM, GRU, SimpleRNN, Bidirectional and RNN of their cells, stacked ones too:
  a unit is a column in each gate, and what it feeds back goes with it; so are
  the channels of ConvLSTM1D/2D/3D;
  MultiHeadAttention: a unit is a head, or with `attention='channels'` a channel
  of all heads at once;
* these carry units, exactly: DepthwiseConv1D/2D, BatchNormalization, PReLU,
  activations, all pooling, ZeroPadding, Cropping, UpSampling, Resizing,
  Rescaling, Flatten, Reshape, Permute, Dropout and its kin; Attention and
  AdditiveAttention, the channels of their values; slices and steps, `tf.split`,
  `concat`, `stack`, `reshape`, `transpose`, `gather` by known numbers, `tile`,
  `repeat`, `reverse`, `roll`, `pad` of positions, `reduce_mean` and its kin
  and variances over positions, pools, `depth_to_space`, functions of each
  entry, comparisons and `where`, the columns or rows that a product of two
  tensors (`matmul`, Dot) does not sum over; those of `keras.ops` likewise;
* so do RMSNormalization (`paoding.layers.RMSNormalization`: tf_keras has none)
  and UnitNormalization, over channels that are zero where their weights are;
* these tie units, which live or die together: Add, Subtract, Average, Maximum,
  Minimum, Multiply (squeeze-and-excite too), `x + y` and `x * y`; blocks of a
  grouped convolution; channels of one group of a GroupNormalization; channels
  of queries with those of keys; channels that a reshape divides among
  positions; all calls of a shared layer; shares of attention that RepeatVector
  and Permute lay out for each channel with these channels;
* Concatenate sets units side by side: they keep their offsets;
* LayerNormalization carries them, where a dict of sparsities names their first
  layer: it goes on to measure those that are gone as zeros
  (`paoding.layers.PaddedLayerNormalization`);
* units in front of these stay: a softmax, GroupNormalization in a single group,
  a mean or an extreme over channels, a standard deviation (its slope at zero is
  infinite), channels of two tensors whose product nobody else reads;
* these have no units, and bounds pass them: Discretization, CategoryEncoding,
  IntegerLookup, Hashing, `tf.one_hot`;
* Lambda layers of functions that are known are opened: models of these
  functions take their place, under their names;
* units of and behind these stay: other Lambdas, recurrent layers with their
  steps in front of their samples, layers nobody taught it, the model's outputs.

`history.left_alone` says why for each layer whose units stay. Bounds are per
channel, one for all positions. A unit without incoming weights is a constant,
and moves into the next biases where that is exact: not under the padding of a
'same' convolution. A layer class of yours that keeps the `call` of a known one
is that one. Subclassed models are traced; where `call` depends on the data, the
statement is named.

Teach it your own layer by saying which operations it is and how its config
shrinks. Here is one with weights; if you know TFMOT, it is a `PrunableLayer`:

```python
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

from tfmot_paoding.layers import LayerHandler, register_handler
from tfmot_paoding.numerics.activations import rectifier
from tfmot_paoding.ops import Elementwise, MatMul, WeightRef


class Projection(tf_keras.layers.Layer, tfmot.sparsity.keras.PrunableLayer):
  def __init__(self, width, **kwargs):
    super().__init__(**kwargs)
    self.width = width

  def build(self, shape):
    self.matrix = self.add_weight('matrix', (shape[-1], self.width))
    self.shift = self.add_weight('shift', (self.width,))

  def call(self, x):
    return tf.nn.relu(x @ self.matrix + self.shift)

  def get_prunable_weights(self):
    return [self.matrix]

  def get_config(self):
    return {**super().get_config(), 'width': self.width}


@register_handler(Projection)
class ProjectionHandler(LayerHandler):
  def lower(self, layer, path, in_shapes, out_shape):
    product = MatMul(WeightRef(path, 'matrix'), WeightRef(path, 'shift'))
    return [product, Elementwise(rectifier())]

  def resize(self, layer, config, out_shape):
    return {**config, 'width': out_shape[-1]}
```

A layer may have an inside: units that it makes and reads itself, tensors that
meet. Its handler emits a small graph instead of a list, gives names to the
tensors whose widths the config holds, and is told them back. Here is a gated
unit, whose two products lose the same units as what they meet in:

```python
from tfmot_paoding.numerics.activations import by_name
from tfmot_paoding.ops import Multiply


class GatedLinear(tf_keras.layers.Layer, tfmot.sparsity.keras.PrunableLayer):
  def __init__(self, hidden, width, **kwargs):
    super().__init__(**kwargs)
    self.hidden, self.width = hidden, width

  def build(self, shape):
    self.value = self.add_weight('value', (shape[-1], self.hidden))
    self.gate = self.add_weight('gate', (shape[-1], self.hidden))
    self.back = self.add_weight('back', (self.hidden, self.width))
    self.bias = self.add_weight('bias', (self.width,))

  def call(self, x):
    gated = (x @ self.value) * tf.sigmoid(x @ self.gate)
    return gated @ self.back + self.bias

  def get_prunable_weights(self):
    return [self.value, self.gate, self.back]

  def get_config(self):
    sizes = {'hidden': self.hidden, 'width': self.width}
    return {**super().get_config(), **sizes}


@register_handler(GatedLinear)
class GatedLinearHandler(LayerHandler):
  def lower_into(self, layer, emit):
    (x,) = emit.inputs
    value = emit(MatMul(emit.weight('value')), x)
    gate = emit(MatMul(emit.weight('gate')), x)
    gate = emit(Elementwise(by_name('sigmoid')), gate)
    gated = emit(Multiply(), value, gate, name='hidden')
    return emit(MatMul(emit.weight('back'), emit.weight('bias')), gated)

  def resize_inside(self, layer, config, widths):
    sizes = {'hidden': widths['hidden'], 'width': widths['output']}
    return {**config, **sizes}
```

What a handler names is run beside the layer on two random inputs when a model
is read; where it is not what the layer computes, that is an error.

A layer that is called with more than its first argument is left alone, unless
its handler names the parameters that it asks for in `arguments`, and reads
them: `emit.argument('value')` is a tensor, or a setting such as True.
`emit.note` gives an input a name, where the config holds its width.

Shapes follow from the operations; what one cannot tell, `emit(..., shape=...)`
says. A layer that gives several tensors returns them as a tuple; their widths
are 'output_0', 'output_1' and so on. That is all there is to write: groups,
bounds, fits, costs, masks and smaller layers follow.
`ops.convolution(x.shape, kernel, bias, size=(3, 3))` and `ops.depthwise` give a
convolution by Keras's settings; a layer with one inside is left alone, and
named, where the model leaves sizes open, and within a TimeDistributed. Between
two products of a list, units stay. Handlers of the package's own are replaced
by `replace=True` alone.

The operations are in `tfmot_paoding.ops`; one of your own is a subclass of `Op`
that says what it does to bounds and to units.
"""

from tfmot_paoding.layers import (
  activation,
  applications,
  attention,
  codes,
  conv,
  dense,
  einsum,
  embedding,
  merging,
  normalization,
  positions,
  recurrent,
  shape,
  tf_ops,
  tfmot_wrappers,
  wrapping,
)
from tfmot_paoding.layers.base import (
  LayerHandler,
  handler_of,
  is_known,
  opaque,
  register_handler,
  weight_ref,
)
from tfmot_paoding.layers.padded_normalization import PaddedLayerNormalization
from tfmot_paoding.layers.rms_normalization import RMSNormalization
from tfmot_paoding.layers.wrapping import inner_layer
from tfmot_paoding.numerics.activations import Activation

__all__ = [
  'Activation',
  'LayerHandler',
  'PaddedLayerNormalization',
  'RMSNormalization',
  'activation',
  'applications',
  'attention',
  'codes',
  'conv',
  'dense',
  'einsum',
  'embedding',
  'handler_of',
  'inner_layer',
  'is_known',
  'merging',
  'normalization',
  'opaque',
  'positions',
  'recurrent',
  'register_handler',
  'shape',
  'tf_ops',
  'tfmot_wrappers',
  'weight_ref',
  'wrapping',
]
