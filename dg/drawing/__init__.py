"""How results and poses are drawn: the colours, canvas and axes of all figures, and a pose in 3D."""
