"""Flags of what is read: a model, and what its inputs are."""

from __future__ import annotations

from absl import flags

__all__ = ['input_flags', 'loading_flags', 'model_flag', 'test_data_flag']


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
    'such as 0,255. Left out, what its first layers say (Rescaling, '
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
    lambda texts: not texts or _are_numbers(texts, 2),
    message='--input_range must be two numbers such as 0,1.',
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


def _are_numbers(texts: list[str], count: int) -> bool:
  """Whether there are so many numbers."""
  try:
    return len([float(text) for text in texts]) == count
  except ValueError:
    return False
