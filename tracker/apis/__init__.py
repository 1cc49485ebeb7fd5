"""tracker.apis: asking questions of what was logged. `tracker.Api` is `tracker.apis.public.Api`."""

from tracker.apis import public as public
from tracker.apis.public import Api as Api

__all__ = ["Api", "public"]
