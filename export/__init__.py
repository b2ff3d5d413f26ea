"""Make a trained model ready for the device: ONNX with a bundle around it, checked before it is kept."""
