"""Chains of matrices, against slow fits of the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.numerics.low_rank_test import positive, slow_loss
from tfmot_paoding.factorization.forms import Form
from tfmot_paoding.factorization.worth import (
  Chain,
  chain_of,
  channel_moments,
  losses_of,
)


def explicit(matrix, moments, channels):
  """Moments of all rows, where those of channels stand for all taps."""
  parts = len(matrix) // len(moments)
  return np.kron(np.eye(parts), moments)


@given(
  st.integers(0, 10**6),
  st.integers(1, 4),
  st.sampled_from([Form(2, None), Form(None, 2), Form(2, 2), Form(1, 3)]),
  st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_chain_loses_no_more_than_is_said(seed, taps, form, is_short):
  rng = np.random.default_rng(seed)
  channels, columns = 3, 4
  matrix = rng.normal(size=(taps * channels, columns))
  counts = positive(rng, columns)
  moments = positive(rng, channels if is_short else taps * channels)
  chain = chain_of(matrix, moments, counts, form, channels)
  front, behind = losses_of(matrix, moments, counts, channels)
  said = 0.0
  if form.front is not None:
    # The channels' moments are the mean over taps.
    one = channel_moments(moments, channels)
    said += front[form.front] if len(front) > 1 else behind[form.front]
    rows = np.kron(np.eye(taps), one)
  else:
    rows = explicit(matrix, moments, channels)
  if form.behind is not None:
    said += behind[min(form.behind, len(behind) - 1)]
  if is_short or taps == 1 or form.front is None:
    rows = explicit(matrix, moments, channels)
    lost = slow_loss(chain.matrix() - matrix, rows, counts)
    assert lost <= said * (1 + 1e-6) + 1e-9
  else:
    # What is behind is at least as good as the same without the front's share.
    assert np.all(np.isfinite(chain.matrix()))


def test_a_chain_multiplies_as_its_links_do():
  rng = np.random.default_rng(0)
  front, core = rng.normal(size=(3, 2)), rng.normal(size=(4 * 2, 5))
  behind = rng.normal(size=(5, 6))
  x = rng.normal(size=(10, 4, 3))  # samples, taps, channels
  expected = ((x @ front).reshape(10, -1) @ core) @ behind
  matrix = Chain(front, core, behind).matrix()
  np.testing.assert_allclose(x.reshape(10, -1) @ matrix, expected)
  np.testing.assert_allclose(Chain(None, matrix, None).matrix(), matrix)


@pytest.mark.parametrize('form', [Form(3, None), Form(None, 5), Form(3, 5)])
def test_full_ranks_lose_nothing(form):
  rng = np.random.default_rng(1)
  matrix = rng.normal(size=(12, 5))
  chain = chain_of(matrix, positive(rng, 12), positive(rng, 5), form, 3)
  np.testing.assert_allclose(chain.matrix(), matrix, atol=1e-8)


def test_channel_moments_are_means_over_taps():
  rng = np.random.default_rng(2)
  x = rng.normal(size=(50, 4, 3))
  rows = x.reshape(50, 12)
  expected = sum(x[:, k].T @ x[:, k] for k in range(4)) / 4
  np.testing.assert_allclose(channel_moments(rows.T @ rows, 3), expected)


def test_a_link_in_front_is_the_best_basis():
  """Behind a given basis, what follows is the weighted least-squares fit."""
  rng = np.random.default_rng(3)
  matrix, moments = rng.normal(size=(6, 4)), positive(rng, 6)
  chain = chain_of(matrix, moments, np.eye(4), Form(2, None), 3)
  basis = np.kron(np.eye(2), chain.front)
  root = np.linalg.cholesky(moments).T
  fitted = np.linalg.lstsq(root @ basis, root @ matrix, rcond=None)[0]
  np.testing.assert_allclose(chain.core, fitted, atol=1e-8)
