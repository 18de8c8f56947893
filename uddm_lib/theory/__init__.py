"""What the theory notebook computes, one module a subject.

``patterns``            states to store: random bits, hidden features, a teacher's examples
``hopfield``            the binary associative memory: couplings, margins, dynamics, recovery
``pseudo_likelihood``   its learning rule: loss, gradient, training
``separability``        what no couplings can exceed: largest margins, Cover's count
``memory_experiments``  basins, training, capacity and generalization, each a table
``condensation``        up to which diffusion time a memory of sequences tells them apart
``worked_examples``     the NELBO on pairs of tokens, the argmax of Gaussians, a double well
"""
