"""What the theory notebook computes: binary associative memories, their experiments, and exact computations."""
