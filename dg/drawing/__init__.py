"""How a pose is drawn: the colours of its sides, and a figure of it in 3D. Knows matplotlib and the skeletons alone."""
