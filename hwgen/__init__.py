"""hwgen: verified dataflow hardware from quantized ONNX models."""
