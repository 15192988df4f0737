"""From a checkpoint to a version in service: ONNX, variants, model card, promotion."""
