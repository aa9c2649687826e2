"""What is computed: one file per loss, each with its formula, its documentation and the facts that drive tests, docs and benchmarks."""
