"""`dg grid`: many runs of dg.train as one comparison."""
