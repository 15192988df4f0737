"""metseg-trainer: trains both networks on slices of brain MRI, compares them and promotes the better one."""
