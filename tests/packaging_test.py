"""The wheel: the package alone, with its dependencies and extras named."""

from __future__ import annotations

import email
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

_ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> pathlib.Path:
  """A wheel built from a copy of the sources."""
  folder = tmp_path_factory.mktemp('wheel')
  source = folder / 'source'
  shutil.copytree(
    _ROOT,
    source,
    ignore=shutil.ignore_patterns('.git', '.venv', 'build', '*.egg-info'),
  )
  command = [sys.executable, '-m', 'build', '--wheel', '--no-isolation']
  subprocess.run(
    [*command, '--outdir', str(folder), str(source)],
    check=True,
    capture_output=True,
  )
  (found,) = folder.glob('*.whl')
  return found


def test_it_holds_the_package_alone(wheel):
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split('/')[0].split('-')[0] for name in names} == {
    'tfmot_paoding'
  }
  on_disk = {
    str(path.relative_to(_ROOT))
    for path in (_ROOT / 'tfmot_paoding').rglob('*.py')
  }
  assert on_disk <= set(names)


def test_it_names_dependencies_and_extras(wheel):
  archive = zipfile.ZipFile(wheel)
  (name,) = [n for n in archive.namelist() if n.endswith('METADATA')]
  metadata = email.message_from_bytes(archive.read(name))
  requires = metadata.get_all('Requires-Dist')
  core = {r.split('>')[0] for r in requires if 'extra ==' not in r}
  assert {name.replace('_', '-').lower() for name in core} == {
    'absl-py',
    'numpy',
    'tensorflow',
    'tensorflow-model-optimization',
    'tf-keras',
  }
  assert {'examples', 'test'} <= set(metadata.get_all('Provides-Extra'))
  assert metadata['License-Expression'] or metadata['License'] == 'Apache-2.0'


def test_it_installs_in_an_empty_environment(wheel, tmp_path):
  target = tmp_path / 'empty'
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps']
  subprocess.run(
    [*pip, '--no-index', '--target', str(target), str(wheel)], check=True
  )
  script = 'import tfmot_paoding; print(tfmot_paoding.__file__)'
  done = subprocess.run(
    [sys.executable, '-c', script],
    check=True,
    capture_output=True,
    text=True,
    cwd=tmp_path,
    env={'PYTHONPATH': str(target), 'TF_CPP_MIN_LOG_LEVEL': '3'},
  )
  assert str(target) in done.stdout
  # The command, quick since it reads its flags before TensorFlow is loaded.
  done = subprocess.run(
    [sys.executable, str(target / 'bin' / 'tfmot-paoding'), 'prune', '--help'],
    check=True,
    capture_output=True,
    text=True,
    cwd=tmp_path,
    env={'PYTHONPATH': str(target)},
  )
  assert '--sparsity' in done.stdout
  assert not done.stderr
