"""What the theory notebook computes, one module a subject.

``patterns``            states to store: random bits, hidden features, a teacher's examples
``hopfield``            the binary associative memory: couplings, margins, dynamics, recovery
``pseudo_likelihood``   its learning rule: loss, gradient, training
``separability``        what no couplings can exceed: largest margins, Cover's count
``asymmetry``           memories without symmetric couplings and without an energy
``memory_experiments``  basins, training, capacity and generalization, each a table
``condensation``        up to which diffusion time a memory tells sequences, or classes, apart
``worked_examples``     NELBO of pairs, a rule with facts, argmax of Gaussians, a double well
"""
