"""Faults that fast tests have to catch, and one that any would."""

from plant_data import DATA
from plant_fault import Fault
from plant_held import HELD
from plant_pictures import PICTURES
from plant_saber import SABER
from plant_training import TRAINING
from plant_wiring import WIRING

FAULTS = WIRING + HELD + DATA + TRAINING + SABER + PICTURES
OBVIOUS = Fault(
    "obvious", "Euler's steps go nowhere", "backbones/wan/sampler.py",
    "latent = latent + (", "latent = latent + 0 * (", ("wan_sampler",),
)  # fmt: skip
