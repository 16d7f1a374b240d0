"""What is measured in long runs: each module makes one file of data_samples/results/. No notebook imports it."""
