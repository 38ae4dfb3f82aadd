"""What the phone's interpreter refuses, as one kind of error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from tfmot_paoding.tflite.flatbuffer import TFLiteFile


@contextlib.contextmanager
def refusals(name: str = '') -> Iterator[None]:
  """Turns what an interpreter raises into an error that says whose it is.

  Args:
    name: What messages call the file, such as the argument that it came in.

  Raises:
    ValueError: the interpreter refused the file.
  """
  try:
    yield
  except (RuntimeError, ValueError) as error:
    file = f'this .tflite ({name})' if name else 'this .tflite'
    raise ValueError(
      f'The interpreter does not run {file}: {error} Convert or copy it anew.'
    ) from error


def check_names(
  file: TFLiteFile, inputs: Mapping[str, object], outputs: Sequence[str]
) -> None:
  """Raises unless these are a file's inputs, and outputs that it has.

  Raises:
    ValueError: a name is unknown, or an input missing.
  """
  takes, gives = file.signature(of_inputs=True), file.signature(of_inputs=False)
  if set(inputs) != set(takes):
    raise ValueError(
      f'The file takes the inputs {sorted(takes)}, but got {sorted(inputs)}.'
    )
  for name in outputs:
    if name not in gives:
      raise ValueError(
        f'The file has no output {name!r}; it has {sorted(gives)}.'
      )
