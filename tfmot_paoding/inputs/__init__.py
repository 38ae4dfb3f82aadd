"""What goes into a model: its range, and inputs where there are none.

Where you have no data, fits, distillation, comparison and the ranges of
integers need inputs all the same. `prior=` says where they come from: a name
of `NAMED_PRIORS`, 'recalled' (from the statistics that batch normalization
stored), 'statistics' (see `StatisticsPrior`), or an object, each a frozen
dataclass:

- `Prior`, `VariedPrior`: smooth Gaussians; for vectors independent features;
- `LeavesPrior`: dead leaves, which have the statistics of photographs; in few
  on an empty ground, blobs; along one axis, steps and ramps;
- `SpectralPrior`: noise that falls with frequency, as sounds do;
- `StrokesPrior`: glyphs; an explicit choice, for it knows what inputs are;
- `PhotosPrior`: crops of thirteen public photographs, which scikit-image and
  scikit-learn ship (`pip install 'tfmot_paoding[photos]'`); an explicit choice;
- `RowsPrior`: pictures read row by row, as sequences whose features have an
  order are, or as vectors; 'rows' is that of 'mixed';
- `MixturePrior`: several of these; 'mixed' is one;
- `StatisticsPrior`: a Gaussian field that explains what a network's first
  normalization stored; `fit_statistics` makes it, by least squares alone;
- `GaussianPrior`: the mean and covariance of data of your own.

A sequence of these is drawn in equal shares. Where nobody says (`prior=None`),
it is what the model knows:

- dead leaves for a classifier of pictures that tells these apart nearly as well
  as anything drawn, as those that have learned photographs do
  (`inputs.familiarity`), and beside them, where batch normalization stored
  statistics, inputs recalled from these;
- the same of 'rows' for a classifier of long rows of features, recurrent or
  not, that tells what is smooth along these apart better than what is alike in
  them all, and of vectors that it tells apart better in order than shuffled;
- recalled ones alone for other models with batch normalization, of up to 6e7
  multiply-accumulates; where a `StatisticsPrior` explains the first of these
  well, five of six are samples of that;
- for the rest 'smooth' to fit on, and to distill on 'mixed' (pictures) or
  'varied' (others).

Where no batch normalization stored statistics, weights that training left as
they were drawn tell which entries of a vector, or of a picture that `Dense`
layers read, and which channels were 0 in all of training
(`inputs.empty_entries`). Families that say nothing of places are drawn without
them, and fade towards them in pictures; other priors say what they say.

Of families with many kinds of sample a classifier keeps those that it is surest
of, evenly over its classes (`choose_samples`). `draw_sheet` shows what a
network was shown:

    samples = paoding.inputs.draw_samples(model, (0, 1), 64, prior='leaves')
    paoding.inputs.draw_sheet(samples[0], 'leaves.png')

Recalled inputs take seconds to minutes. `find_inputs` finds them once, and what
it returns is a `prior` for all that is done with the model:

    found = paoding.inputs.find_inputs(model, (0, 255))
    small = paoding.prune(model, 0.5, prior=found)
    data = paoding.convert_to_tflite(small, 'int8', prior=found)
"""

from tfmot_paoding.inputs.finding import find_inputs
from tfmot_paoding.inputs.leaves import LeavesPrior
from tfmot_paoding.inputs.mixture import MixturePrior
from tfmot_paoding.inputs.named_priors import NAMED_PRIORS
from tfmot_paoding.inputs.photos import PhotosPrior
from tfmot_paoding.inputs.prior import (
  GaussianPrior,
  InputPrior,
  Prior,
  PriorLike,
  VariedPrior,
)
from tfmot_paoding.inputs.ranges import InputRange, RangeLike
from tfmot_paoding.inputs.recall import RecallSettings, recall_inputs
from tfmot_paoding.inputs.rows import RowsPrior
from tfmot_paoding.inputs.sheet import draw_sheet
from tfmot_paoding.inputs.source import InputSource, draw_samples
from tfmot_paoding.inputs.spectra import SpectralPrior
from tfmot_paoding.inputs.statistics_fit import fit_statistics
from tfmot_paoding.inputs.statistics_prior import StatisticsPrior
from tfmot_paoding.inputs.strokes import StrokesPrior
from tfmot_paoding.inputs.teacher_choice import choose_samples
from tfmot_paoding.inputs.user_data import Inputs
from tfmot_paoding.network.input_shapes import with_input_shape

__all__ = [
  'NAMED_PRIORS',
  'GaussianPrior',
  'InputPrior',
  'InputRange',
  'InputSource',
  'Inputs',
  'LeavesPrior',
  'MixturePrior',
  'PhotosPrior',
  'Prior',
  'PriorLike',
  'RangeLike',
  'RecallSettings',
  'RowsPrior',
  'SpectralPrior',
  'StatisticsPrior',
  'StrokesPrior',
  'VariedPrior',
  'choose_samples',
  'draw_samples',
  'draw_sheet',
  'find_inputs',
  'fit_statistics',
  'recall_inputs',
  'with_input_shape',
]
