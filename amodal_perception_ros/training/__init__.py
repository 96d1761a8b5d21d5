"""Training of the network: annotated sequences to weights."""

import os

# OpenMP reads this once, when PyTorch is first imported. Threads that spin while they wait for each other cost five
# times the time of a step as soon as anything else runs on the machine; sleeping ones cost a tenth on an idle one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
