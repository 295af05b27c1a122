"""The machine: XLA flags, memory, processes, the mesh of devices, random keys, plug-ins, how commands run."""
