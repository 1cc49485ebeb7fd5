"""The SDK: what runs inside a training script. Import from the modules; this file loads nothing."""
