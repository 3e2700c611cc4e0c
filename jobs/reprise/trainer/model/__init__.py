"""The model: forest, calibration, threshold, and their ONNX export."""
