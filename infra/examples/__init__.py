"""One study to try Vigie with: an order, an image (`make` draws it), and the row that they make.

`simulate` has three scenarios of the simulator.
"""
