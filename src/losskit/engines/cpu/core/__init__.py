"""What every pattern on the CPU stands on: compiling and keeping loops, threads, memory, half precision, mathematics."""
