"""Flags of what is read: a model, and what its inputs are."""

from __future__ import annotations

from absl import flags

__all__ = [
  'input_flags',
  'loading_flags',
  'model_flag',
  'ranges_of',
  'test_data_flag',
]

Range = tuple[float, float]
Ranges = Range | dict[str, Range] | None


def model_flag(values: flags.FlagValues, more: str = '') -> None:
  """Defines --model.

  Args:
    values: Where to.
    more: What else than models of Keras it may be.
  """
  flags.DEFINE_string(
    'model',
    None,
    f'The trained model: {more}an .h5 or .keras file of either Keras, or the '
    'folder of a SavedModel of tf_keras. Nothing in it runs as code.',
    flag_values=values,
  )
  flags.mark_flag_as_required('model', flag_values=values)


def loading_flags(values: flags.FlagValues) -> None:
  """Defines what a model's inputs are, and whether code of it may run."""
  flags.DEFINE_list(
    'input_range',
    [],
    'Lowest and highest value of the inputs that the model was trained on, '
    'such as 0,255; for several inputs, both for each by its name: '
    'image=0,255,age=0,99. Left out, what its first layers say (Rescaling, '
    'Normalization, Embedding, x / 255. and the like), and 0,1 where they say '
    'nothing.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'input_shape',
    None,
    'Sizes of the inputs, without the batch, where the model leaves them open: '
    'height,width,channels.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'allow_code',
    False,
    'Load Lambda layers and pickled functions. Only for files that you trust: '
    'their code runs with your rights.',
    flag_values=values,
  )
  flags.register_validator(
    'input_range',
    _is_range,
    message='--input_range must be two numbers such as 0,1, or two for each '
    'input by its name such as image=0,255,age=0,99.',
    flag_values=values,
  )
  flags.register_validator(
    'input_shape',
    lambda texts: texts is None or all(x.strip().isdecimal() for x in texts),
    message='--input_shape must be whole numbers such as 96,96,3.',
    flag_values=values,
  )


def test_data_flag(values: flags.FlagValues, use: str) -> None:
  """Defines --test_data.

  Args:
    values: Where to.
    use: What they are for.
  """
  flags.DEFINE_string(
    'test_data',
    None,
    'An .npz with inputs `x`, as the model takes them, and classes `y`, '
    f'{use}.',
    flag_values=values,
  )


def input_flags(values: flags.FlagValues) -> None:
  """Defines what a model's inputs are, and what is measured on them."""
  loading_flags(values)
  flags.DEFINE_string(
    'data',
    None,
    'An .npz with unlabelled inputs `x`, as the model takes them, to fit on in '
    'place of drawn ones.',
    flag_values=values,
  )
  flags.DEFINE_alias('calibration_data', 'data', flag_values=values)
  test_data_flag(
    values,
    'to measure agreement and accuracy on; nothing else looks at them',
  )
  flags.DEFINE_float(
    'min_agreement',
    None,
    'The least fraction of inputs that the pruned model must answer as the '
    'original does (of outputs that are numbers, of their variance that it '
    'must explain); below it nothing is written, and the exit code is 1.',
    lower_bound=0.0,
    upper_bound=1.0,
    flag_values=values,
  )
  flags.DEFINE_integer(
    'seed',
    0,
    'Seed of all random choices.',
    lower_bound=0,
    flag_values=values,
  )
  flags.register_validator(
    'min_agreement',
    lambda value: value is None or value >= 0,  # NaN is within any bounds
    message='--min_agreement must lie in [0, 1].',
    flag_values=values,
  )


def ranges_of(texts: list[str]) -> Ranges:
  """What --input_range says, as functions take it.

  Args:
    texts: Two numbers, or two for each input, the first behind its name.

  Raises:
    ValueError: they are neither.
  """
  if not texts:
    return None
  pairs = list(zip(texts[::2], texts[1::2], strict=True))
  named = ['=' in low for low, _ in pairs]
  if not any(named):
    ((low, high),) = pairs
    return float(low), float(high)
  found = {}
  for (first, high), has_name in zip(pairs, named, strict=True):
    name, _, low = first.rpartition('=')
    if not has_name or name in found:
      raise ValueError(f'{first!r} names no input, or one that was named.')
    found[name.strip()] = float(low), float(high)
  return found


def _is_range(texts: list[str]) -> bool:
  """Whether they can be read."""
  try:
    ranges_of(texts)
  except ValueError:
    return False
  return True
