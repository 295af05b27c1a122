"""The mathematics of diffusion: schedule, forward process, objective, samplers. Arrays and functions in, arrays out."""
