"""What every loss promises, implemented once: argument checks, reduction, masks and weights, the registry, the modules."""
