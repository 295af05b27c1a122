"""The machine that jaxgen runs on: XLA flags, memory, processes, the device mesh, random keys, plug-ins and commands."""
