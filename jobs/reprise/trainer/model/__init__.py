"""The model: forest, calibration, and their ONNX export."""
