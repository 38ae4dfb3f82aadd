"""Draws accuracy over what is removed, from the tables beside this script.

  python examples/figures/plot_accuracy.py --output=accuracy.png \
      --networks=mnist_mlp5_relu,mnist_cnn,kws

The tables of compare_networks.md have a row for each network and method, and a
column for each fraction removed. `--networks` chooses and orders the panels.
"""

from __future__ import annotations

import pathlib
import re

import panels
from absl import app, flags

from tfmot_paoding.command.one_line import script
from tfmot_paoding.files import check_writable

_TABLES = pathlib.Path(__file__).with_name('compare_networks.md')
_TITLES = {
  'mnist_mlp3_relu': 'MNIST, MLP 128-128',
  'mnist_mlp5_relu': 'MNIST, MLP 128-128-64',
  'mnist_mlp5_sigmoid': 'MNIST, sigmoid MLP 128-128-64',
  'mnist_mlp_wide': 'MNIST, MLP 512-512',
  'mnist_cnn': 'MNIST, CNN',
  'kws': 'spoken keywords, DS-CNN',
  'ic_resnet8': 'CIFAR-10, ResNet-8',
  'cifar_vgg_bn': 'CIFAR-10, VGG, batch norm.',
  'cifar_vgg_nobn': 'CIFAR-10, VGG, no batch norm.',
}
_LINES = {
  'ceiling': 'fitted on real training inputs',
  'reconstruction': "'reconstruction', without data",
  'l1': 'smallest weights first, without data',
}

_NETWORKS = flags.DEFINE_list(
  'networks', list(_TITLES), 'What to draw, in this order.'
)
_OUTPUT = flags.DEFINE_string('output', None, 'Where to write the .png.')


def read_tables(text: str) -> dict[tuple[str, str], dict[float, list[float]]]:
  """Mean and spread by network and method, and by the fraction removed."""
  found, heads = {}, []
  for line in text.splitlines():
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    if not line.startswith('|'):
      heads = []  # what comes may be another table
    elif cells[:2] == ['network', 'method']:
      heads = cells
    elif heads and not cells[0].startswith('---'):
      found[cells[0], cells[1]] = {
        float(head.removesuffix('%')) / 100: _numbers(cell)
        for head, cell in zip(heads, cells, strict=True)
        if re.fullmatch(r'\d+%', head)
      }
  return found


def _numbers(cell: str) -> list[float]:
  """A mean and its spread, 0 where the cell has none."""
  mean, *spread = cell.split('±')
  return [float(mean), float(spread[0]) if spread else 0.0]


def panel(table: dict, network: str) -> panels.Panel:
  """A network's lines, each from the accuracy before pruning.

  Raises:
    ValueError: the tables do not have the network.
  """
  if (network, 'original') not in table:
    known = sorted({name for name, _ in table})
    raise ValueError(f'No table has {network!r}; there are {known}.')
  before = next(iter(table[network, 'original'].values()))
  lines = []
  for method, label in _LINES.items():
    points = sorted({0.0: [before[0], 0.0], **table[network, method]}.items())
    x, values = zip(*points, strict=True)
    mean, spread = zip(*values, strict=True)
    lines.append(panels.Line(label, x, mean, spread))
  return panels.Panel(_TITLES.get(network, network), lines)


def main() -> None:
  """Draws one panel a network."""
  check_writable([_OUTPUT.value])
  table = read_tables(_TABLES.read_text(encoding='utf-8'))
  panels.draw(
    [panel(table, network) for network in _NETWORKS.value],
    _OUTPUT.value,
    'units removed from every layer',
    percent=True,
  )


if __name__ == '__main__':
  flags.mark_flag_as_required('output')
  app.run(script(main))
