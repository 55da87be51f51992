"""ONNX's own backend node tests, through hwgen."""
