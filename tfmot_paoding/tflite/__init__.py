"""What runs on devices: conversion, the interpreters, and what files cost.

```python
import tfmot_paoding as paoding

data = paoding.convert_to_tflite(small, 'int8')  # integers throughout, no data
profile = paoding.profile_tflite(data, micro=False)  # micro: needs [micro]
print(profile.bytes, profile.macs, profile.peak_activation_bytes)
paoding.write_c_array(data, 'g_net', arena_bytes=16384)  # g_net.cc, g_net.h
```

`quantization` is None or another name of `QUANTIZATIONS`, a table that says
what each is; phones run files of all, microcontrollers those of `on_micro`.
Weights of four bits take `pip install 'tfmot_paoding[quantize]'`: LiteRT runs
them all, tflite-micro those of 'int4x8', between integers. Its own kernels
unpack a layer's weights into the arena, those of CMSIS-NN do not: what is
measured is then more than a Cortex-M takes.
Integers throughout ('int8', 'int16x8') need ranges of activations, and so
inputs: these are recalled from the model or drawn from a prior, unless you have
some (`representative_data=`). What takes the ranges and writes the integers,
and the interpreter that checks them, run in processes of their own. An integer
input has one scale for all its entries: features of unlike scale in front of a
Normalization layer take `float_io=True`, by which what scales them entry by
entry stays in real numbers under 'int8', on microcontrollers too.

Every conversion is run beside the Keras model and refused if it differs by more
than quantization explains; `compare_tflite` gives the differences. Stripped
models that were not compacted are stored sparsely where that makes a float32
file smaller and it loads.

A batch may have any size where that costs nothing; models whose operators would
have to work it out (Dense on sequences, attention, reshaping and recurrent
layers) take one sample a call, without the operators that tflite-micro lacks.
LSTM converts to int8 as well and runs in tflite-micro (reset the interpreter's
variables before each sequence: an LSTM remembers the last one). GRU, SimpleRNN
and an LSTM of other activations than Keras's become loops, which have no
integers, and do not run in tflite-micro when they return sequences:
`micro=True` writes their steps one by one, in a file that grows with them.

`pip install 'tfmot_paoding[micro]'` brings the interpreters that run on
devices, LiteRT and tflite-micro (a pre-release). With it, `profile_tflite`
measures the tensor arena, names the operators that tflite-micro lacks, and
`write_c_array` recommends an arena. Some of these LiteRT and NPUs have, and run
faster than anything else: `convert_to_tflite(..., micro=True)` writes them in
what tflite-micro has, GELU in all modes, exponentials, logarithms and square
roots of integers, concatenations of more than ten. Of 8 bits that is a table,
the same answers bit for bit. Files for a budget of `arena_bytes`, and those of
the command's `--c_array`, are so. `pip install 'tfmot_paoding[npu]'` brings
Vela, Arm's compiler for its NPUs: `profile_tflite(data, npu='ethos-u55-128')`
then counts cycles, SRAM and flash there and names the operators that fall back
to the CPU. Cycles go in steps of width, which `multiple_of=` of `prune` ends
at. If you know what the device has rather than
a sparsity, `paoding.prune_to_budget` finds the least pruning whose file fits.

TFMOT's other tools work on the stripped or compact model, and removed units
stay removed: quantization-aware training (`quantize_model`),
sparsity-preserving quantization-aware training
(`Default8BitPrunePreserveQuantizeScheme`) and sparsity-preserving clustering.
TFMOT cannot quantize a wrapped model: strip it first. Plain `quantize_model` on
a stripped model lets zeros grow back; take the compact one, which has none.
"""

from __future__ import annotations

from tfmot_paoding.quantization import QUANTIZATIONS, Quantization
from tfmot_paoding.tflite.arena_margin import arena_margin
from tfmot_paoding.tflite.c_array import write_c_array
from tfmot_paoding.tflite.comparison import Comparison, compare_tflite
from tfmot_paoding.tflite.convert import convert_to_tflite
from tfmot_paoding.tflite.litert import run_tflite
from tfmot_paoding.tflite.micro import MicroError, run_micro
from tfmot_paoding.tflite.npu import NpuError, NpuProfile
from tfmot_paoding.tflite.profile import Latency, TFLiteProfile, profile_tflite

__all__ = [
  'QUANTIZATIONS',
  'Comparison',
  'Latency',
  'MicroError',
  'NpuError',
  'NpuProfile',
  'Quantization',
  'TFLiteProfile',
  'arena_margin',
  'compare_tflite',
  'convert_to_tflite',
  'profile_tflite',
  'run_micro',
  'run_tflite',
  'write_c_array',
]
