"""metseg-trainer: trains both networks on slices of brain MRI, compares them and puts the better one into service."""
