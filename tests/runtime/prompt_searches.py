"""The searches whose answers a test waits for, in a process that does not leave the processor to everything else."""

from multidnn.runtime import background_solver
from multidnn.schedule.anytime import improve
from tests.runtime.searches import deaf, killed_while_speaking, nothing_to_find, optimum_after_a_while, worse_and_worse

__all__ = ["deaf", "improve", "killed_while_speaking", "nothing_to_find", "optimum_after_a_while", "worse_and_worse"]

# only the solver's process imports this, before it would yield
background_solver._yield_the_processor = lambda: None
