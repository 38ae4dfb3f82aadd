"""Failures that a user should read are one line; defects are tracebacks."""

from __future__ import annotations

import numpy as np
import pytest
from absl import app

from tfmot_paoding.command.downloads import downloaded_images
from tfmot_paoding.command.one_line import in_one_line, script
from tfmot_paoding.compat import keras


def test_what_a_user_did_wrong_is_one_line(capsys):
  def program(argv):
    raise ValueError(f'{argv} is wrong.\n  Pass another.')

  assert in_one_line(program)('--x') == 1
  assert capsys.readouterr().err == 'error: --x is wrong. Pass another.\n'


def test_defects_are_tracebacks():
  def program():
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError):
    in_one_line(program)()


def test_scripts_take_flags_alone():
  ran = []
  with pytest.raises(app.UsageError, match=r"\['25'\]"):
    script(lambda: ran.append(1))(['program', '25'])
  assert not ran
  assert script(lambda: ran.append(1) or 3)(['program']) == 3
  assert ran == [1]


@pytest.mark.parametrize(('given', 'code'), [(None, 0), (0, 0), (3, 3)])
def test_exit_codes(given, code):
  assert in_one_line(lambda: given)() == code


def test_no_network_is_told_with_the_flag_to_give(monkeypatch, capsys):
  def fetch():
    raise Exception('URL fetch failure on https://x: None -- unreachable')

  monkeypatch.setattr(keras.datasets.mnist, 'load_data', fetch)
  assert in_one_line(downloaded_images)('mnist') == 1
  said = capsys.readouterr().err
  assert 'Pass --data with an .npz' in said
  assert 'unreachable' in said
  assert said.count('\n') == 1


def test_images_as_they_are_stored(monkeypatch):
  part = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 1), np.uint8)
  monkeypatch.setattr(keras.datasets.cifar10, 'load_data', lambda: (part, part))
  shapes = [x.shape for x in downloaded_images('cifar10')]
  assert shapes == [(2, 4, 4), (2,), (2, 4, 4), (2,)]
