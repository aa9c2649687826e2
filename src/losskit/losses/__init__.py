"""What is computed: one file a loss, each with its formula, its documentation and the facts that drive tests, docs and benchmarks."""
