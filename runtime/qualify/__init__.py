"""Find out what may run on this device: golden cases on every engine, beside the reference."""
