"""The command `tfmot-paoding`: prune, budget, factorize, report, verify.

Flags are read before anything loads TensorFlow, which takes seconds: the
package's own `__init__` begins with `starting.start`, and no module that this
one reaches imports more than absl. What the sub-commands do is in modules of
their names, loaded once the flags are right.
"""
