"""Packages that come with an extra of this one, and what is said without them.

They are asked for before any work is done, and imported where they are used.
"""

from __future__ import annotations

import dataclasses
import importlib.util


@dataclasses.dataclass(frozen=True)
class OptionalPackage:
  """A package that not everybody installs.

  Attributes:
    module: What is imported of it.
    package: Its name where packages are installed from.
    extra: The extra of this package that brings it.
    taken_by: What takes it, as a sentence begins; '' where that is plain.
    advice: What else to do without it, behind the command.
  """

  module: str
  package: str
  extra: str
  taken_by: str = ''
  advice: str = ''

  @property
  def is_installed(self) -> bool:
    """Whether it can be imported."""
    try:
      return importlib.util.find_spec(self.module) is not None
    except (ImportError, ValueError):  # a parent of the module is missing
      return False

  def require(self, taken_by: str = '') -> None:
    """Raises where it is not installed.

    Args:
      taken_by: Who says so, if not what the attribute says.

    Raises:
      ImportError: it is not; the extra to install is named.
    """
    if not self.is_installed:
      raise self.error(taken_by)

  def error(self, taken_by: str = '') -> ImportError:
    """What `require` raises."""
    what = f'{self.package} is not installed'
    taken_by = taken_by or self.taken_by
    if taken_by:
      what = f'{taken_by} takes {self.package}, which is not installed'
    return ImportError(
      f"{what}. Install it with: pip install 'tfmot_paoding[{self.extra}]'"
      f'{self.advice}.'
    )


MICRO = OptionalPackage('tflite_micro', 'tflite-micro', 'micro')
NPU = OptionalPackage(
  'ethosu.vela', 'ethos-u-vela', 'npu', 'Counting the cycles of an NPU'
)
RECIPES = OptionalPackage('ai_edge_quantizer', 'ai-edge-quantizer', 'quantize')
ONNX = OptionalPackage('onnx', 'onnx', 'verify')
TF2ONNX = OptionalPackage('tf2onnx', 'tf2onnx', 'verify')
MARABOU = OptionalPackage(
  'maraboupy',
  'maraboupy',
  'verify',
  advice=" (there are wheels for Python up to 3.11), or let this package's own "
  "method='bab' decide",
)
MATPLOTLIB = OptionalPackage(
  'matplotlib', 'matplotlib', 'report', "The report's curve"
)
FOOLBOX = OptionalPackage('foolbox', 'foolbox', 'attacks')
ART = OptionalPackage('art', 'adversarial-robustness-toolbox', 'attacks')
SKIMAGE = OptionalPackage('skimage', 'scikit-image', 'photos')
SKLEARN = OptionalPackage('sklearn', 'scikit-learn', 'photos')
