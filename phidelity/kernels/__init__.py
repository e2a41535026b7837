"""C kernels for integer products and attention on CPU: their layout in memory, their compilation, their calls."""
