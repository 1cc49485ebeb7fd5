"""What the machine does while a run goes on: one small class per kind of device, and the thread that asks them."""

__all__: list[str] = []
