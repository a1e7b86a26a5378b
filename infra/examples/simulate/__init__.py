"""Three scenarios of the simulator, and the command that makes their figures for the docs."""
